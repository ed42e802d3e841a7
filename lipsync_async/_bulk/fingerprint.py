"""What identifies a request: its canonical form, in which a journal stores and recognises it.

Two requests are the same if they ask for the same of the same media. Media count as the
same

* at an address whose query differs in nothing but its signature, unless all of it is to
  count;
* in memory, by content;
* in a local file that lies where it lay, or there as seen from the journal's folder, by
  size and time of change, or by content; in a file that lies elsewhere by content. Content
  is a digest of up to 64 MiB. Of a larger file a sample is read, and name, size and time of
  change must be the same as well: to read gigabytes only to recognise them takes minutes.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import attrs

from lipsync_async._bulk.journal_file import ID_PREFIX, OUTPUT_PREFIX
from lipsync_async._logic.codec import encode_request
from lipsync_async._logic.validation import exact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lipsync_async._models.request import GenerationRequest


# Names in lower case, without `-` and `_`.
_words = re.compile(r"\w+").findall
# Families: S3 and its relatives (AWS, R2, MinIO, Spaces, Wasabi, B2), Google, Alibaba, Tencent,
# Huawei, Volcano, Baidu, Akamai, and the query of an Azure shared access signature.
_SIGNING_PREFIXES = tuple(
    _words("""
        xamz xgoog xoss xcos xobs xtos xbce qsign hdn wssecret wstime txsecret txtime
    """)
)
_SIGNING_NAMES = frozenset(
    _words("""
        accesskey accesskeyid accesstoken apikey auth authkey authorization authtoken
        awsaccesskeyid cdntoken credential deadline digest downloadtoken edgetoken exp
        expiration expire expires expiresat expiresin expiry gda googleaccessid hash hmac jwt
        keyname keypair keypairid keyversion md5 nonce ossaccesskeyid policy qak qheaderlist
        qkeytime qurlparamlist rlkey salt securitytoken sessiontoken sig sign signature signed
        signedexpiry signedkey signtime ske skoid sks skt sktid skv tempauth tempurlexpires
        tempurlsig ticket timestamp tok token ttl urlprefix urlsignature urltoken validfrom
        validto validuntil verify wmsauthsign
    """)
)
# The ends of longer names (`x-expires`, `X-Session-Id`), some of which end in a naming word too.
_SIGNING_WORDS = tuple(
    _words("""
        accesskey accesskeyid apikey authkey clientid correlationid credential expires keyid
        requestid sessionid signature signingkey traceid
    """)
)
# Short for signing, and for much else: the value decides. The second line is Azure's.
_SHORT_NAMES = frozenset(
    _words("""
        a e h s st t ts
        saoid scid sdd se ses sip sp spr sr srt ss suoid sv tn
    """)
)
# Alone, or as the end of a name: `videoId`, `file_name`.
_NAMING_WORDS = tuple(
    _words("""
        asset audio bucket clip dir doc end episode file filename files folder format generation
        guid height id ids image img index item key lang language media name no nr num number
        object page part path picture quality res rev revision scene seq size slug snapshot
        source src start take title track uri url user uuid version video width
    """)
)
_NAMING_LETTERS = frozenset("finpqv")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Seconds or milliseconds since 1970 of this age, or a date.
_MOMENT = re.compile(r"1\d{9}(\d{3})?|20\d\d-?[01]\d-?[0-3]\d([T ].*)?")
_LEAST_SECRET = 16
_SECRET = re.compile(r"[A-Za-z0-9+/_=.~%:*,-]+")


def telling_parameters(before: str, now: str, *, is_named: bool) -> list[str] | None:
    """Return the names of the parameters by which two addresses name different files.

    Empty: they name the same file, as far as can be told. `None`: the addresses differ in more
    than their queries.
    """
    try:
        parts = urlsplit(before), urlsplit(now)
    except ValueError:
        return None
    places = [(each.scheme.lower(), each.netloc.lower(), each.path) for each in parts]
    if places[0] != places[1]:
        return None
    old, new = _parameters(parts[0].query), _parameters(parts[1].query)
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    kinds = {name: _kind(name, [*old.get(name, []), *new.get(name, [])]) for name in changed}
    is_signed_anew = "signing" in kinds.values()
    passed_over = {"signing", "other"} if is_signed_anew or is_named else {"signing"}
    return [name for name in changed if kinds[name] not in passed_over]


def without_signature(address: str) -> str:
    """Return what an address says about its file: place, and parameters that name a thing."""
    place, _, query = address.partition("#")[0].partition("?")
    naming: list[str] = []
    for name, values in sorted(_parameters(query).items()) if query else ():
        if _kind(name, values) == "naming":
            naming += (f"{name}={value}" for value in values)
    return f"{place}?{'&'.join(naming)}"


def _parameters(query: str) -> dict[str, list[str]]:
    """Return the values of each name, in their order."""
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        found.setdefault(name, []).append(value)
    return found


def _kind(name: str, values: list[str]) -> str:
    """Return what a parameter is for: signing, naming, or something other."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    is_signing = plain in _SIGNING_NAMES or plain.startswith(_SIGNING_PREFIXES)
    if is_signing or plain.endswith(_SIGNING_WORDS):
        return "signing"
    if plain not in _SHORT_NAMES and (plain in _NAMING_LETTERS or plain.endswith(_NAMING_WORDS)):
        return "naming"
    texts = values if any(values) else [name]  # a bare signature is a name without a value
    return "signing" if all(map(_looks_signed, texts)) else "other"


def _looks_signed(value: str) -> bool:
    """Tell whether a value can be a signature, a token or a moment."""
    if _UUID.fullmatch(value):
        return False
    if _MOMENT.fullmatch(value):
        return True
    is_mixed = any(each.isdigit() for each in value) and any(each.isalpha() for each in value)
    return len(value) >= _LEAST_SECRET and is_mixed and _SECRET.fullmatch(value) is not None


# Up to here every whole float is exactly that integer (IEEE 754, 53 bits).
_MOST_EXACT = 2.0**53
# Names of the wire under which the address of a medium stands.
_ADDRESSES = frozenset({"url", "bounding_boxes_url"})
# Bytes of a piece, pieces of a large file that are looked at, and bytes of one.
_PIECE = 1024**2
_SAMPLES, _SAMPLE = 64, 64 * 1024


@attrs.define(slots=True, eq=False)
class Difference:
    """What sets a request apart from a recorded one; false if nothing does."""

    _recognition: Recognition
    _is_named: bool
    _was_sent: bool
    # Names of the wire's top level whose values differ.
    fields: list[str] = attrs.field(factory=list, init=False)
    # Local files that lie where they lay and have changed since.
    files: list[str] = attrs.field(factory=list, init=False)
    # Names in the queries of addresses that differ in nothing else.
    parameters: dict[str, None] = attrs.field(factory=dict, init=False)
    # Whether an address differs in nothing but its signature.
    is_signed_anew: bool = attrs.field(default=False, init=False)

    def __bool__(self) -> bool:
        return bool(self.fields)

    @property
    def is_in_files(self) -> bool:
        """Whether nothing has changed but the content of local files."""
        return bool(self.files) and self.fields == ["input"] and not self.parameters

    def __str__(self) -> str:
        if self.is_in_files:
            return f"its file {self.files[0]} has changed since"
        words = f"they differ in {' and '.join(self.fields)}"
        if not self.parameters:
            return words
        return f"{words}, by {', '.join(self.parameters)} in the query of an address"

    def is_same(self, name: str, before: Any, now: Any) -> bool:
        """Compare two values of one name; all of it, for there may be more to tell."""
        if isinstance(before, dict) and isinstance(now, dict):
            if name == "file":
                return self._is_same_file(before, now)
            names = sorted({*before, *now})
            same = [self.is_same(each, before.get(each), now.get(each)) for each in names]
            return all(same)
        if isinstance(before, list) and isinstance(now, list):
            same = [self.is_same(name, *pair) for pair in zip(before, now, strict=False)]
            return len(before) == len(now) and all(same)
        if name in _ADDRESSES and isinstance(before, str) and isinstance(now, str):
            return self._is_same_address(before, now)
        # In Python, though not in JSON, `True` is a number.
        return before == now and isinstance(before, bool) == isinstance(now, bool)

    def _is_same_address(self, before: str, now: str) -> bool:
        if before == now or self._recognition.matches_query:
            return before == now
        telling = telling_parameters(before, now, is_named=self._is_named)
        self.parameters |= dict.fromkeys(telling or ())
        self.is_signed_anew |= telling == []
        return telling == []

    def _is_same_file(self, before: dict[str, Any], now: dict[str, Any]) -> bool:
        is_same = self._recognition.is_same_file(before, now, was_sent=self._was_sent)
        if not is_same and is_same_place(before, now):
            self.files.append(now["path"])
        return is_same


def mismatch(position: int, difference: Difference) -> str:
    """Return that the journal holds another request."""
    return (
        f"requests[{position}]: is not the request that the journal holds there "
        f"({difference}); restore it, or begin a new journal"
    )


@attrs.define(slots=True)
class Recognition:
    """Tells requests from each other, as seen from a journal's folder."""

    _folder: Path | None = None  # `None`: files have absolute paths only
    matches_query: bool = attrs.field(default=False, kw_only=True)  # all of it, signatures too
    _most_read: int = attrs.field(default=64 * 1024**2, kw_only=True)  # bytes of a whole digest
    _most_remembered: int = attrs.field(default=1000, kw_only=True)  # digests
    _digests: dict[tuple[str, int, int], dict[str, str]] = attrs.field(factory=dict, init=False)

    def body(self, request: GenerationRequest, *, has_content: bool = True) -> dict[str, Any]:
        """Return the canonical form of a request that has passed validation, to be written.

        It is its wire JSON. An input that is a local file has an object `file` in it: facts of
        the file, and digests if `has_content`.
        """
        body = encode_request(request)
        for item, encoded in zip(request.input, body["input"], strict=True):
            file = getattr(item, "file", None)
            if file is not None:
                encoded.pop("assetId", None)  # of its upload; see `noted_uploads`
                facts = self._facts(file)
                encoded["file"] = {**facts, **self._content(facts)} if has_content else facts
        canonical: dict[str, Any] = _canonical("", body)
        return canonical

    def difference(
        self,
        recorded: str,
        request: GenerationRequest,
        *,
        is_named: bool = False,
        was_sent: bool = False,
    ) -> Difference:
        """Return what sets a request apart from the recorded one; false if nothing does.

        A local file that is gone is taken for the one that lay there. `is_named`: the request
        is known by a name of its own. `was_sent`: there is a job, so a large file whose time has
        changed does not count as changed.
        """
        before = json.loads(recorded)
        now = self.body(request, has_content=False)
        difference = Difference(self, is_named, was_sent)
        for name in sorted({*before, *now}):
            if not difference.is_same(name, before.get(name), now.get(name)):
                difference.fields.append(name)
        return difference

    def is_same_file(
        self, before: Mapping[str, Any], now: Mapping[str, Any], *, was_sent: bool
    ) -> bool:
        """Tell whether a file is the recorded one."""
        lies_there = is_same_place(before, now)
        if "path" in now and "size" not in now:  # it is gone, or cannot be looked at
            return lies_there
        if before.get("size") != now["size"]:
            return False
        has_its_time = before.get("mtime_ns") == now.get("mtime_ns")
        if lies_there and has_its_time:
            return True
        content = self._content(now)
        if "sha256" in content and "sha256" in before:
            return bool(content["sha256"] == before["sha256"])
        if "sample" not in content or content["sample"] != before.get("sample"):
            return False
        return was_sent or (has_its_time and _name(before) == _name(now))

    def _facts(self, file: Any) -> dict[str, Any]:
        """Return what the file system tells about a file."""
        if isinstance(file, bytes):
            return {"sha256": sha256(file).hexdigest(), "size": len(file)}
        try:
            path = os.path.realpath(os.fspath(file))
        except OSError as error:  # which would be taken for one of the journal
            raise ValueError(f"the path of a file cannot be told ({error})") from error
        facts: dict[str, Any] = {"path": path}
        if self._folder is not None:  # where it is as seen from the journal's folder
            with suppress(ValueError):  # on another drive of Windows
                facts["near"] = os.path.relpath(path, self._folder).replace(os.sep, "/")
        try:
            status = os.stat(path)  # noqa: PTH116 - it is text by now
        except OSError:
            return facts
        return {**facts, "size": status.st_size, "mtime_ns": status.st_mtime_ns}

    def _content(self, facts: Mapping[str, Any]) -> dict[str, str]:
        """Return a file's digest, or a large one's digest of samples, or nothing."""
        if "mtime_ns" not in facts:
            return {"sha256": facts["sha256"]} if "sha256" in facts else {}
        path, size = facts["path"], facts["size"]
        known = (path, size, facts["mtime_ns"])
        if known not in self._digests:
            if len(self._digests) >= self._most_remembered:
                self._digests.clear()
            self._digests[known] = _digest(path, size, self._most_read)
        return self._digests[known]


def noted_uploads(body: dict[str, Any], request: GenerationRequest) -> dict[str, Any]:
    """Return a canonical form with the ids of the assets that its files are sent as.

    A request is compared and named without them: an upload is no part of the request.
    """
    inputs = [
        {**known, "file": {**known["file"], "asset_id": getattr(item, "asset_id", None)}}
        if "file" in known and getattr(item, "asset_id", None) is not None
        else known
        for item, known in zip(request.input, body["input"], strict=True)
    ]
    return {**body, "input": inputs}


def with_uploads(request: GenerationRequest, recorded: Mapping[str, Any]) -> GenerationRequest:
    """Return the request as a document says that it was sent: with assets, or as a form."""
    inputs: list[Any] = [
        attrs.evolve(item, asset_id=known["file"]["asset_id"])
        if "asset_id" in known.get("file", ())
        else item
        for item, known in zip(request.input, recorded["input"], strict=True)
    ]
    return attrs.evolve(request, input=inputs)


def is_same_place(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tell whether a file lies where another lay, in itself or as seen from the journal."""
    if any(name in before and before[name] == now.get(name) for name in ("path", "near")):
        return True
    # Earlier releases noted a path as it was given, links included.
    return {*before} & {"path", "near"} == {"path"} and (
        os.path.realpath(before["path"]) == now.get("path")
    )


def row_names(request: GenerationRequest) -> list[str]:
    """Return the row keys by which a journal may know a request, the most telling first."""
    names = []
    if request.request_id is not None:
        names.append(f"{ID_PREFIX}{exact(request.request_id)}")
    if request.output_file_name is not None:
        names.append(f"{OUTPUT_PREFIX}{exact(request.output_file_name)}")
    return names


def key_of(secret: str, anchor: str, number: int, body: dict[str, Any]) -> str:
    """Make the Idempotency-Key of a try.

    It follows from the journal's own secret, and from the request. So if a row is lost,
    because a copy of the journal of an hour ago is used, say, the create is sent under the
    key that it had, and the service answers with the job that it has made of it. `anchor` tells
    the request from others in the input; `number` is its try, from 1.
    """
    essence = essence_of(body)
    facts = json.dumps([secret, anchor, number, essence])
    return str(UUID(bytes=sha256(facts.encode()).digest()[:16], version=5))


def essence_of(value: Any) -> str:
    """Return what stays of a body, or of several, when links are signed again and files moved."""
    return write(_canonical("", value, is_essence=True))


def earlier_forms(
    request: GenerationRequest, documents: Sequence[str]
) -> tuple[GenerationRequest, ...]:
    """Return the forms in which a request was noted and is not written now."""
    forms: list[GenerationRequest] = []
    sent = with_uploads(request, json.loads(documents[-1]))
    for document in documents:
        form = _with_addresses(request, json.loads(document))
        if form != sent and form not in forms:
            forms.append(form)
    return tuple(forms)


def _with_addresses(request: GenerationRequest, recorded: Mapping[str, Any]) -> GenerationRequest:
    """Return the request with the addresses that a document of the same request has."""
    inputs = [
        attrs.evolve(item, url=known["url"]) if getattr(item, "url", None) is not None else item
        for item, known in zip(request.input, recorded["input"], strict=True)
    ]
    options = _with_boxes(request.options, recorded.get("options"))
    segments = request.segments
    if segments is not None:
        segments = [
            attrs.evolve(
                each,
                options_override=_with_boxes(each.options_override, known.get("optionsOverride")),
            )
            for each, known in zip(segments, recorded["segments"], strict=True)
        ]
    form = attrs.evolve(request, input=inputs, options=options, segments=segments)
    return with_uploads(form, recorded)


def _with_boxes(options: Any, recorded: Mapping[str, Any] | None) -> Any:
    speaker = None if options is None else options.active_speaker_detection
    if recorded is None or speaker is None or speaker.bounding_boxes_url is None:
        return options
    url = recorded["active_speaker_detection"]["bounding_boxes_url"]
    return attrs.evolve(
        options, active_speaker_detection=attrs.evolve(speaker, bounding_boxes_url=url)
    )


# JSON in ASCII with sorted keys.
write = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def _canonical(name: str, value: Any, *, is_essence: bool = False) -> Any:
    """Return a value of the wire as it is stored, or its essence.

    The essence is what stays when links are signed again and folders are moved. `1.0` is written
    as `1`: in JSON they are one number, and Python code mixes them freely.
    """
    if isinstance(value, str):
        return without_signature(value) if is_essence and name in _ADDRESSES else value
    if isinstance(value, dict):
        if is_essence and name == "file":
            return {"name": _name(value), "size": value.get("size")}
        parts = {}
        for each, inner in value.items():
            parts[each] = _canonical(each, inner, is_essence=is_essence)
        return parts
    if isinstance(value, list | tuple):
        return [*map(partial(_canonical, name, is_essence=is_essence), value)]
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_EXACT:
        return int(value)
    return value


def _name(facts: Mapping[str, Any]) -> str:
    """Return a file's own name, and none for bytes."""
    return os.path.basename(str(facts.get("path", "")))  # noqa: PTH119 - as the system has it


def _digest(path: str, size: int, most: int) -> dict[str, str]:
    """Read a file, or samples of a large one; what cannot be read has no digest."""
    digest = sha256()
    try:
        with Path(path).open("rb") as file:
            if size <= most:
                while piece := file.read(_PIECE):
                    digest.update(piece)
                return {"sha256": digest.hexdigest()}
            for number in range(_SAMPLES):  # at the beginning, at the end, and evenly between
                file.seek((size - _SAMPLE) * number // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE))
            return {"sample": digest.hexdigest()}
    except OSError:
        return {}

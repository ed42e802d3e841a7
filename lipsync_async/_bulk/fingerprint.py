"""A request in one canonical form, so that it can be stored and recognised.

Two requests are the same if they ask for the same of the same media. Media count as the
same

* at an address whose query differs in nothing but its signature (see `signatures`), unless
  all of it is to count;
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
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, urlsplit
from uuid import UUID

import attrs

from lipsync_async._logic.codec import encode_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lipsync_async._models.request import GenerationRequest


# Names in lower case, without `-` and `_`.
# Families: S3 and its relatives (AWS, R2, MinIO, Spaces, Wasabi, B2), Google, Alibaba, Tencent,
# Huawei, Volcano, Baidu, Akamai, and the query of an Azure shared access signature.
_SIGNING_PREFIXES = (
    "xamz",
    "xgoog",
    "xoss",
    "xcos",
    "xobs",
    "xtos",
    "xbce",
    "qsign",
    "hdn",
    "wssecret",
    "wstime",
    "txsecret",
    "txtime",
)
_SIGNING_NAMES = frozenset(
    re.findall(
        r"\w+",
        """
        accesskey accesskeyid accesstoken apikey auth authkey authorization authtoken
        awsaccesskeyid cdntoken credential deadline digest downloadtoken edgetoken exp expiration
        expire expires expiresat expiresin expiry gda googleaccessid hash hmac jwt keyname keypair
        keypairid keyversion md5 nonce ossaccesskeyid policy qak qheaderlist qkeytime qurlparamlist
        rlkey salt securitytoken sessiontoken sig sign signature signed signedexpiry signedkey
        signtime ske skoid sks skt sktid skv tempauth tempurlexpires tempurlsig ticket timestamp
        tok token ttl urlprefix urlsignature urltoken validfrom validto validuntil verify
        wmsauthsign
        """,
    )
)
# The ends of longer names (`x-expires`, `X-Session-Id`), some of which end in a naming word too.
_SIGNING_WORDS = (
    "accesskey",
    "accesskeyid",
    "apikey",
    "authkey",
    "clientid",
    "correlationid",
    "credential",
    "expires",
    "keyid",
    "requestid",
    "sessionid",
    "signature",
    "signingkey",
    "traceid",
)
# Short for signing, and for much else: the value decides. The second line is Azure's.
_SHORT_NAMES = frozenset(
    re.findall(
        r"\w+",
        """
        a e h s st t ts
        saoid scid sdd se ses sip sp spr sr srt ss suoid sv tn
        """,
    )
)
# Alone, or as the end of a name: `videoId`, `file_name`.
_NAMING_WORDS = tuple(
    re.findall(
        r"\w+",
        """
        asset audio bucket clip dir doc end episode file filename files folder format generation
        guid height id ids image img index item key lang language media name no nr num number
        object page part path picture quality res rev revision scene seq size slug snapshot source
        src start take title track uri url user uuid version video width
        """,
    )
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
    parts = _split(before), _split(now)
    if parts[0] is None or parts[1] is None or _place(parts[0]) != _place(parts[1]):
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
    naming = [
        f"{name}={value}"
        for name, values in sorted(_parameters(query).items())
        for value in values
        if _kind(name, values) == "naming"
    ]
    return f"{place}?{'&'.join(naming)}"


def _split(address: str) -> SplitResult | None:
    try:
        return urlsplit(address)
    except ValueError:
        return None


def _place(parts: SplitResult) -> tuple[str, str, str]:
    return parts.scheme.lower(), parts.netloc.lower(), parts.path


def _parameters(query: str) -> dict[str, list[str]]:
    """Return the values of each name, in their order."""
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        found.setdefault(name, []).append(value)
    return found


def _kind(name: str, values: list[str]) -> str:
    """Return what a parameter is for: signing, naming, or something other."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in _SIGNING_NAMES or plain.startswith(_SIGNING_PREFIXES):
        return "signing"
    if plain.endswith(_SIGNING_WORDS):
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


@attrs.frozen(slots=True)
class Identity:
    """What identifies a request."""

    # JSON in ASCII with sorted keys. An input that is a local file has an object `file` in it.
    document: str
    fingerprint: str  # SHA-256 of the document, in hexadecimal digits
    essence: str  # what stays of it when links are signed again and folders are moved


@attrs.frozen(slots=True)
class Difference:
    """What sets a request apart from a recorded one; false if nothing does."""

    fields: tuple[str, ...]  # names of the wire's top level whose values differ
    files: tuple[str, ...]  # local files that lie where they lay and have changed since
    parameters: tuple[str, ...]  # names in the queries of addresses that differ in nothing else
    is_signed_anew: bool  # whether an address differs in nothing but its signature

    def __bool__(self) -> bool:
        return bool(self.fields)

    @property
    def is_in_files(self) -> bool:
        """Whether nothing has changed but the content of local files."""
        return bool(self.files) and set(self.fields) == {"input"} and not self.parameters

    def __str__(self) -> str:
        if self.is_in_files:
            return f"its file {self.files[0]} has changed since"
        words = f"they differ in {' and '.join(self.fields)}"
        if not self.parameters:
            return words
        names = ", ".join(self.parameters)
        return f"{words}, by {names} in the query of an address"


@attrs.define(slots=True)
class Recognition:
    """Tells requests from each other, as seen from a journal's folder."""

    _folder: Path | None = None  # `None`: files have absolute paths only
    matches_query: bool = attrs.field(default=False, kw_only=True)  # all of it, signatures too
    _most_read: int = attrs.field(default=64 * 1024**2, kw_only=True)  # bytes of a whole digest
    _most_remembered: int = attrs.field(default=1000, kw_only=True)  # digests
    _digests: dict[tuple[str, int, int], dict[str, str]] = attrs.field(factory=dict, init=False)

    def identify(self, request: GenerationRequest) -> Identity:
        """Return the canonical form of a request that has passed validation."""
        plain = self._body(request, has_content=True)
        document = _written(plain)
        fingerprint = sha256(document.encode("ascii")).hexdigest()
        return Identity(document, fingerprint, _written(_essence("", plain)))

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
        now = self._body(request, has_content=False)
        walk = _Walk(self, is_named=is_named, was_sent=was_sent)
        fields = [
            name
            for name in sorted({*before, *now})
            if not walk.is_same(name, before.get(name), now.get(name))
        ]
        parameters = tuple(dict.fromkeys(walk.parameters))
        return Difference(tuple(fields), tuple(walk.files), parameters, walk.is_signed_anew)

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

    def _body(self, request: GenerationRequest, *, has_content: bool) -> Any:
        """Return a request's wire JSON, with the facts of its local files."""
        body = encode_request(request)
        for item, encoded in zip(request.input, body["input"], strict=True):
            file = getattr(item, "file", None)
            if file is not None:
                facts = self._facts(file)
                encoded["file"] = {**facts, **self._content(facts)} if has_content else facts
        return _plain(body)

    def _facts(self, file: Any) -> dict[str, Any]:
        """Return what the file system tells about a file."""
        if isinstance(file, bytes):
            return {"sha256": sha256(file).hexdigest(), "size": len(file)}
        path = _real_path(file)
        facts: dict[str, Any] = {"path": path, **self._near(path)}
        try:
            status = os.stat(path)  # noqa: PTH116 - it is text by now
        except OSError:
            return facts
        return {**facts, "size": status.st_size, "mtime_ns": status.st_mtime_ns}

    def _near(self, path: str) -> dict[str, str]:
        """Return where a path is as seen from the journal's folder."""
        if self._folder is None:
            return {}
        try:
            near = os.path.relpath(path, self._folder)
        except ValueError:  # pragma: no cover - on another drive of Windows
            return {}
        return {"near": near.replace(os.sep, "/")}

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


@attrs.define(slots=True)
class _Walk:
    """Comparison of two bodies, part by part, and what is special about their difference."""

    recognition: Recognition
    is_named: bool = attrs.field(kw_only=True)
    was_sent: bool = attrs.field(kw_only=True)
    files: list[str] = attrs.field(factory=list)
    parameters: list[str] = attrs.field(factory=list)
    is_signed_anew: bool = False

    def is_same(self, name: str, before: Any, now: Any) -> bool:
        """Compare two values of one name."""
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
        if before == now or self.recognition.matches_query:
            return before == now
        telling = telling_parameters(before, now, is_named=self.is_named)
        self.parameters += telling or ()
        self.is_signed_anew |= telling == []
        return telling == []

    def _is_same_file(self, before: dict[str, Any], now: dict[str, Any]) -> bool:
        is_same = self.recognition.is_same_file(before, now, was_sent=self.was_sent)
        if not is_same and is_same_place(before, now):
            self.files.append(now["path"])
        return is_same


def is_same_place(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tell whether a file lies where another lay, in itself or as seen from the journal."""
    if any(name in before and before[name] == now.get(name) for name in ("path", "near")):
        return True
    # Earlier releases noted a path as it was given, links included.
    return {*before} & {"path", "near"} == {"path"} and (
        os.path.realpath(before["path"]) == now.get("path")
    )


def key_of(secret: str, anchor: str, number: int, identity: Identity) -> str:
    """Make the Idempotency-Key of a try.

    It follows from the journal's own secret, and from what is ordered. So if a row is lost,
    because a copy of the journal of an hour ago is used, say, the order is placed under the
    key that it had, and the service answers with the job that it has made of it. `anchor` tells
    the request from others in the input; `number` is its try, from 1.
    """
    facts = json.dumps([secret, anchor, number, identity.essence])
    return str(UUID(bytes=sha256(facts.encode()).digest()[:16], version=5))


def earlier_forms(
    request: GenerationRequest, documents: Sequence[str]
) -> tuple[GenerationRequest, ...]:
    """Return the forms in which a request was noted and is not written now."""
    forms = [_with_addresses(request, document) for document in documents]
    return tuple(form for place, form in enumerate(forms) if form not in [request, *forms[:place]])


def _with_addresses(request: GenerationRequest, document: str) -> GenerationRequest:
    """Return the request with the addresses that a document of the same request has."""
    recorded = json.loads(document)
    items = zip(request.input, recorded["input"], strict=True)
    inputs = [
        attrs.evolve(item, url=known["url"]) if getattr(item, "url", None) is not None else item
        for item, known in items
    ]
    options = _with_boxes(request.options, recorded.get("options"))
    segments = request.segments
    if segments is not None:
        known_segments = zip(segments, recorded["segments"], strict=True)
        segments = [
            attrs.evolve(
                segment,
                options_override=_with_boxes(
                    segment.options_override, known.get("optionsOverride")
                ),
            )
            for segment, known in known_segments
        ]
    return attrs.evolve(request, input=inputs, options=options, segments=segments)


def _with_boxes(options: Any, recorded: Mapping[str, Any] | None) -> Any:
    speaker = None if options is None else options.active_speaker_detection
    if recorded is None or speaker is None or speaker.bounding_boxes_url is None:
        return options
    url = recorded["active_speaker_detection"]["bounding_boxes_url"]
    return attrs.evolve(
        options, active_speaker_detection=attrs.evolve(speaker, bounding_boxes_url=url)
    )


def _written(body: Any) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _essence(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        if name == "file":
            return {"name": _name(value), "size": value.get("size")}
        return {each: _essence(each, inner) for each, inner in value.items()}
    if isinstance(value, list):
        return [_essence(name, inner) for inner in value]
    if name in _ADDRESSES and isinstance(value, str):
        return without_signature(value)
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
            for place in _places(size):
                file.seek(place)
                digest.update(file.read(_SAMPLE))
            return {"sample": digest.hexdigest()}
    except OSError:
        return {}


def _places(size: int) -> Iterator[int]:
    """Yield where samples begin: at the beginning, at the end, and evenly between."""
    for number in range(_SAMPLES):
        yield (size - _SAMPLE) * number // (_SAMPLES - 1)


def _plain(value: Any) -> Any:
    """Write `1.0` as `1`: in JSON they are one number, and Python code mixes them freely."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_EXACT:
        return int(value)
    return value


def _real_path(file: Any) -> str:
    """Return a file's path without links; an `OSError` would be taken for one of the journal."""
    try:
        path: str = os.path.realpath(os.fspath(file))
    except OSError as error:
        raise ValueError(f"the path of a file cannot be told ({error})") from error
    return path

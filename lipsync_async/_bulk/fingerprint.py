"""Which rows of a journal the requests of an input are.

A request has one canonical form, in which it is stored and recognised.

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
import logging
import os
import re
import sqlite3
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import attrs

from lipsync_async._bulk.journal_entry import FIELDS, JobState, JournalEntry, entry_of
from lipsync_async._bulk.journal_file import ID_PREFIX, OUTPUT_PREFIX, find
from lipsync_async._callsite import JOURNAL_LOG, log
from lipsync_async._logic.codec import encode_request
from lipsync_async._logic.validation import exact
from lipsync_async._models.request import GenerationRequest
from lipsync_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lipsync_async._models.request import Origin


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


@attrs.frozen(slots=True)
class Identity:
    """What identifies a request."""

    # JSON in ASCII with sorted keys. An input that is a local file has an object `file` in it.
    document: str
    fingerprint: str  # SHA-256 of the document, in hexadecimal digits
    essence: str  # what stays of it when links are signed again and folders are moved


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
        body = self._body(request, has_content=True)
        document = _write(body)
        fingerprint = sha256(document.encode("ascii")).hexdigest()
        return Identity(document, fingerprint, _write(_canonical("", body, is_essence=True)))

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

    def _body(self, request: GenerationRequest, *, has_content: bool) -> Any:
        """Return a request's wire JSON, with the facts of its local files."""
        body = encode_request(request)
        for item, encoded in zip(request.input, body["input"], strict=True):
            file = getattr(item, "file", None)
            if file is not None:
                facts = self._facts(file)
                encoded["file"] = {**facts, **self._content(facts)} if has_content else facts
        return _canonical("", body)

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
    forms: list[GenerationRequest] = []
    for document in documents:
        form = _with_addresses(request, json.loads(document))
        if form != request and form not in forms:
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
    return attrs.evolve(request, input=inputs, options=options, segments=segments)


def _with_boxes(options: Any, recorded: Mapping[str, Any] | None) -> Any:
    speaker = None if options is None else options.active_speaker_detection
    if recorded is None or speaker is None or speaker.bounding_boxes_url is None:
        return options
    url = recorded["active_speaker_detection"]["bounding_boxes_url"]
    return attrs.evolve(
        options, active_speaker_detection=attrs.evolve(speaker, bounding_boxes_url=url)
    )


_write = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def _canonical(name: str, value: Any, *, is_essence: bool = False) -> Any:
    """Return a value of the wire as it is stored, or its essence.

    `1.0` is written as `1`: in JSON they are one number, and Python code mixes them freely.
    """
    if isinstance(value, str):
        return without_signature(value) if is_essence and name in _ADDRESSES else value
    if isinstance(value, dict):
        if is_essence and name == "file":
            return {"name": _name(value), "size": value.get("size")}
        return {
            each: _canonical(each, inner, is_essence=is_essence) for each, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_canonical(name, inner, is_essence=is_essence) for inner in value]
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


# An input that has moved by one line differs everywhere; a few lines say as much as all.
_MAX_PROBLEMS = 10


@attrs.frozen(slots=True)
class _Item:
    """A request of the input."""

    position: int
    request: GenerationRequest
    key: str | None  # the row key by which the journal knows it; `None`: its position only


# A row of the journal: its key (`None`: it is known by its position), and where its result is as
# seen from the journal's folder.
_Row: TypeAlias = tuple[JournalEntry, str | None, str | bytes | None]


@attrs.define(slots=True, eq=False)
class Matcher:
    """Finds the rows of an input's requests; the input may have changed since.

    A request is known by its name, if it has one: its `request_id`, or else the name of its
    result where that stands for the first time. Then it may stand anywhere. A request without
    a name is known by its position.

    A row's position is where its request stood in the input last. The row of a request that has
    moved is moved with it (`align`). The row that was there gives way to the end, if it has a
    name, and comes back when its request does.

    `align` needs a transaction. `relocated` and `origins` hold the positions of the last items
    whose results are elsewhere than was recorded, or that stand elsewhere in the user's input, and
    where.
    """

    _connection: sqlite3.Connection
    recognition: Recognition
    _folder: Path
    retry_failed: bool = attrs.field(kw_only=True)  # whether what has failed gets a new try
    relocated: list[tuple[Path, int]] = attrs.field(factory=list, init=False)
    origins: list[tuple[str, int]] = attrs.field(factory=list, init=False)
    # Where each name of a result stood first in the input: only there it is a key.
    _outputs: dict[str, int] = attrs.field(factory=dict, init=False)
    _end: int = attrs.field(default=0, init=False)
    _fingerprints: set[str] | None = attrs.field(default=None, init=False)
    # Positions by fingerprints of rows that were recognized in spite of another link.
    _signed_anew: dict[str, int] = attrs.field(factory=dict, init=False)

    def row_key(self, position: int, request: GenerationRequest) -> str | None:
        """Return the key by which a request is known, if it has one."""
        for key in _names(request):
            if key.startswith(ID_PREFIX) or self._outputs.setdefault(key, position) == position:
                return key
        return None

    def difference(
        self, entry: JournalEntry, key: str | None, request: GenerationRequest
    ) -> Difference:
        """Return what sets a request apart from an entry; false if nothing does."""
        return self.recognition.difference(
            entry.request_json, request, is_named=key is not None, was_sent=entry.state.has_job
        )

    def items(self, requests: Sequence[GenerationRequest], start: int) -> list[_Item]:
        """Return a piece of the input, which begins at a position."""
        positions = range(start, start + len(requests))
        self._end = max(self._end, positions.stop)
        return [*map(_Item, positions, requests, map(self.row_key, positions, requests))]

    def rows(self, items: Sequence[_Item]) -> dict[int, _Row]:
        """Return the rows at the positions from the first item to the last."""
        span = items[0].position, items[-1].position
        names = f"{', '.join(FIELDS)}, row_key, download_near"
        query = f"SELECT {names} FROM entries WHERE position BETWEEN ? AND ?"  # noqa: S608 - our own
        found: dict[int, _Row] = {}
        for *columns, key, near in self._connection.execute(query, span):
            entry = entry_of(columns)
            found[entry.position] = entry, key, near
        return found

    def is_aligned(self, items: Sequence[_Item], rows: Mapping[int, _Row]) -> bool:
        """Tell whether each request's row, if it has one, is where the request stands."""
        for item in items:
            if item.position in rows:
                _, key, _ = rows[item.position]
                if key != item.key:
                    return False
            elif item.key is not None and self._knows_any(_names(item.request)):
                return False
        return True

    def _knows_any(self, keys: list[str]) -> bool:
        return any(find_key(self._connection, key) is not None for key in keys)

    def align(self, items: Sequence[_Item]) -> dict[int, str]:
        """Move rows to where their requests stand; return problems by position."""
        problems = {item.position: self._align(item) for item in items}
        return {position: words for position, words in problems.items() if words is not None}

    def entries(
        self, items: Sequence[_Item], rows: Mapping[int, _Row], problems: dict[int, str]
    ) -> list[JournalEntry | None]:
        """Return the entries of requests whose rows are where they stand."""
        found: list[JournalEntry | None] = []
        self.relocated, self.origins = [], []
        for item in items:
            row = rows.get(item.position)
            entry, problem = None, problems.get(item.position)
            if row is not None:
                entry, _, near = row
                if problem is None:
                    entry, problem = self._judge(item, row, items)
                if entry is not None:
                    entry = self._located(entry, item.request.origin, near)
            elif problem is None and item.key is None and self._signed_anew:
                problem = self._overtaken(item)
            if problem is not None:
                problems[item.position] = problem
            found.append(entry)
        if problems:
            raise _unknown_input(problems)
        return found

    def _align(self, item: _Item) -> str | None:
        position = item.position
        known = self._find_named(item)
        row = self.rows([item]).get(position)
        if known == position:
            self._set_key(position, item.key)
        elif known is not None:
            if row is not None:
                entry, key, _ = row
                if key is None and entry.state is not JobState.NOT_CREATED:
                    return _unnamed(position)
                self._vacate(position)
            self._move(known, position)
            self._set_key(position, item.key)
        elif row is not None:
            return self._admit(item, row)
        return None

    def _admit(self, item: _Item, row: _Row) -> str | None:
        """Give a request whose name is not known the row at its position, or the position."""
        entry, key, _ = row
        is_same = not self.difference(entry, item.key, item.request)
        has_other_id = item.key is not None and item.key.startswith(ID_PREFIX)
        if key is None:
            if is_same and item.key is not None:
                self._set_key(item.position, item.key)
        elif not is_same or has_other_id:  # or the request has lost the name that it had
            if item.key is None:
                return _unnamed(item.position)
            self._vacate(item.position)
        return None

    def _find_named(self, item: _Item) -> int | None:
        """Return the position of the row that has a request's name, or is to have it."""
        for key in () if item.key is None else _names(item.request):
            position = find_key(self._connection, key)
            entry = None if position is None else find(self._connection, position)
            if entry is not None and (
                key == item.key or not self.difference(entry, key, item.request)
            ):
                return position
        return None

    def _move(self, position: int, to: int) -> None:
        """Give a row, and its earlier tries, another position, at which there must be none."""
        for table in ("jobs", "tries"):
            query = f"UPDATE {table} SET position = ? WHERE position = ?"  # noqa: S608 - our own
            self._connection.execute(query, (to, position))

    def _vacate(self, position: int) -> None:
        """Move the row at a position behind all others, and behind the input so far."""
        (last,) = self._connection.execute("SELECT max(position) FROM jobs").fetchone()
        self._move(position, max(last + 1, self._end))

    def _set_key(self, position: int, key: str | None) -> None:
        query = "UPDATE jobs SET row_key = ? WHERE position = ?"
        self._connection.execute(query, (key, position))

    def _judge(
        self, item: _Item, row: _Row, items: Sequence[_Item]
    ) -> tuple[JournalEntry | None, str | None]:
        """Return the entry if the request goes on from it, or what is wrong, or neither."""
        entry, key, _ = row
        is_named = item.key is not None and key == item.key
        difference = self.difference(entry, item.key if is_named else None, item.request)
        problem: str | None = None
        if difference:
            if entry.state is JobState.NOT_CREATED or (is_named and entry.state is JobState.FAILED):
                return None, None  # another request may take its place
            problem = self._changed(item, entry, difference, is_named=is_named)
        elif difference.is_signed_anew and not is_named:
            problem = self._shifted(item, entry, items)
        is_tried_again = entry.state is JobState.FAILED and self.retry_failed
        return None if is_tried_again else entry, problem

    def _changed(
        self, item: _Item, entry: JournalEntry, difference: Difference, *, is_named: bool
    ) -> str | None:
        """Return what is wrong with a request that has changed; or log it, if it may have."""
        has_id = is_named and str(item.key).startswith(ID_PREFIX)
        if difference.is_in_files and entry.state.has_job and not has_id:
            log(
                JOURNAL_LOG,
                logging.WARNING,
                f"request {entry.position}: {difference}; generation {entry.generation_id} is of "
                "what was sent. To create it again, begin a new journal.",
            )
            return None
        if is_named:
            return _corrected(entry, difference)
        found = self._find_fingerprint(self.recognition.identify(item.request).fingerprint)
        return _elsewhere(item.position, found[0]) if found else mismatch(entry, difference)

    def _overtaken(self, item: _Item) -> str | None:
        """Return what is wrong if a new request is exactly one whose row another has taken.

        That one differs by its link only, as it seemed; but then this link would have changed,
        too.
        """
        elsewhere = self._signed_anew.get(self._fingerprint(item))
        return None if elsewhere is None else _elsewhere(item.position, elsewhere)

    def _shifted(self, item: _Item, entry: JournalEntry, items: Sequence[_Item]) -> str | None:
        """Return what is wrong if a request with a new link is exactly one from another row.

        Not if that one stands in its own place: then the two ask for the same thing twice.
        """
        fingerprint = self._fingerprint(item)
        found = self._find_fingerprint(fingerprint)
        here = {each.position: each for each in items}

        def stands(position: int) -> bool:
            if position in here:
                return self._fingerprint(here[position]) == fingerprint
            is_past = position < items[0].position
            return is_past and position not in self._signed_anew.values()

        if found and not any(map(stands, found)):
            return _elsewhere(item.position, found[0])
        self._signed_anew[entry.fingerprint] = entry.position
        return None

    def _fingerprint(self, item: _Item) -> str:
        return self.recognition.identify(item.request).fingerprint

    def _find_fingerprint(self, fingerprint: str) -> list[int]:
        """Return the positions that hold exactly this request."""
        execute = self._connection.execute
        if self._fingerprints is None:
            self._fingerprints = {each for (each,) in execute("SELECT fingerprint FROM jobs")}
        if fingerprint not in self._fingerprints:
            return []
        query = "SELECT position FROM jobs WHERE fingerprint = ? ORDER BY position"
        return [position for (position,) in execute(query, (fingerprint,))]

    def _located(
        self, entry: JournalEntry, origin: Origin | None, near: str | bytes | None
    ) -> JournalEntry:
        """Return an entry with where its result is now: it, or the journal, may have moved."""
        if origin is not None and (stored := stored_origin(origin)) != entry.origin_json:
            self.origins.append((stored, entry.position))
        if near is None:
            return entry
        recorded = entry.download_path
        path = Path(os.path.normpath(self._folder / os.fsdecode(near)))
        if not path.is_file():
            if recorded is not None and recorded.is_file():
                self.relocated.append((recorded, entry.position))
            return entry
        with suppress(OSError):  # nothing is where it was recorded
            if recorded is not None and path.samefile(recorded):
                return entry
        self.relocated.append((path, entry.position))
        return attrs.evolve(entry, download_path=path)


def find_key(connection: sqlite3.Connection, row_key: str) -> int | None:
    """Return the position of the row with a key."""
    query = "SELECT position FROM jobs WHERE row_key = ?"
    row: tuple[int] | None = connection.execute(query, (row_key,)).fetchone()
    return None if row is None else row[0]


def stored_origin(origin: Origin) -> str:
    """Return where a request comes from, as a journal stores it."""
    return json.dumps({"line": origin.line, "extra": dict(origin.extra)})


def _names(request: GenerationRequest) -> list[str]:
    """Return the keys by which a request may be known, the most telling first."""
    names = []
    if request.request_id is not None:
        names.append(f"{ID_PREFIX}{exact(request.request_id)}")
    if request.output_file_name is not None:
        names.append(f"{OUTPUT_PREFIX}{exact(request.output_file_name)}")
    return names


def _unknown_input(problems: dict[int, str]) -> InvalidRequestError:
    shown = [problems[position] for position in sorted(problems)]
    more = len(shown) - _MAX_PROBLEMS
    if more > 0:
        shown[_MAX_PROBLEMS:] = [f"requests: {more} more are not what the journal holds"]
    return InvalidRequestError(shown)


def mismatch(entry: JournalEntry, difference: Difference) -> str:
    """Return that the journal holds another request."""
    return (
        f"requests[{entry.position}]: is not the request that the journal holds there "
        f"({difference}); restore it, or begin a new journal"
    )


def _elsewhere(position: int, elsewhere: int) -> str:
    return (
        f"requests[{position}]: is at position {elsewhere} in the journal; keep the order of the "
        "input"
    )


def _corrected(entry: JournalEntry, difference: Difference) -> str:
    if entry.state.has_job:
        fact = f"generation {entry.generation_id} was made of it as it was"
    else:
        fact = "it may have become a job as it was"
    return (
        f"requests[{entry.position}]: was changed ({difference}), but {fact}; restore it, or give "
        "the changed one a name of its own"
    )


def _unnamed(position: int) -> str:
    return (
        f"requests[{position}]: stands where the journal holds another request, and one of the two "
        "has no name to be known by; keep the order of the input, or give each a request_id"
    )

"""Which parts of a query only sign a link: a store writes them anew each time it is asked.

A private file is handed out behind a link that is good for some minutes. The next run signs
it anew, and the file is the same. But a query may also say which file is meant (`?id=7`),
and then another query is another file. Nothing but the names and values of its parameters
tells the two apart:

* a parameter that is known to sign, by its name or because its value looks like a
  signature, a token or a moment, says nothing about the file;
* a parameter that names a thing (`id`, `file`, `version`) does;
* any other is passed over where the link was signed anew besides, or where the request has
  a name of its own; else it counts, because a wrong result costs more than a refusal.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

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
    """Return the parameters by which two addresses name different files.

    Args:
        before: An http address.
        now: Another one.
        is_named: Whether the request that it belongs to has a name of its own.

    Returns:
        Their names, as written; empty if the two name the same file, as far as can be told.
        `None`: the addresses differ in more than their queries.

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
    """Say what a parameter is for: signing, naming, or something other."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in _SIGNING_NAMES or plain.startswith(_SIGNING_PREFIXES):
        return "signing"
    if plain.endswith(_SIGNING_WORDS):
        return "signing"
    if plain not in _SHORT_NAMES and (plain in _NAMING_LETTERS or plain.endswith(_NAMING_WORDS)):
        return "naming"
    told = values if any(values) else [name]  # a bare signature is a name without a value
    return "signing" if all(map(_looks_signed, told)) else "other"


def _looks_signed(value: str) -> bool:
    """Tell whether a value can be a signature, a token or a moment."""
    if _UUID.fullmatch(value):
        return False
    if _MOMENT.fullmatch(value):
        return True
    is_mixed = any(each.isdigit() for each in value) and any(each.isalpha() for each in value)
    return len(value) >= _LEAST_SECRET and is_mixed and _SECRET.fullmatch(value) is not None

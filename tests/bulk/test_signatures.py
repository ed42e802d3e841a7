"""Links that were signed anew name the same file; links that name another file do not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from lipsync_async._bulk.fingerprint import telling_parameters, without_signature

PLACE = "https://media.example/private/take.mp4"

# Two links to one file as stores and gateways write them, the second some minutes later: what
# differs stands in braces.
TEMPLATES = {
    "AWS Signature 4": (
        "X-Amz-Credential={A|B}&X-Amz-Date=2026010{1|2}T000000Z&X-Amz-Expires=9&"
        "X-Amz-Signature={0a|9f}&x-id=G"
    ),
    "AWS with a session": "X-Amz-Security-Token={IQoJb3|FwoGZX}&X-Amz-Signature={1|2}",
    "AWS Signature 2": (
        "AWSAccessKeyId={AKIA1|ASIA2}&Expires=176722{56|92}00&Signature={a%2Bb%3D|c%2Fd%3D}"
    ),
    "Google, version 4": (
        "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Date=20260101T0{0|1}0000Z&"
        "X-Goog-Signature={aa|bb}"
    ),
    "Google, version 2": "GoogleAccessId=a%40b&Expires=1767225{600|999}&Signature={x|y}",
    "Firebase": "alt=media&token={3|4}f0c6f6e-1111-4222-8333-444455556666",
    "Azure account key": (
        "sv=202{4-11-04|5-01-05}&ss=b&srt=o&sp={r|rl}&se=2026-01-01T0{0|1}%3A00%3A00Z&"
        "spr=https&sig={a%3D|b%3D}"
    ),
    "Azure user delegation": (
        "skoid={1|3}&sktid=2&skt=2026-01-0{1|2}T00%3A00%3A00Z&ske=2026-01-0{2|3}&sks=b&skv=1&"
        "sr=b&sig={a|b}"
    ),
    "CloudFront": "Expires=176722{56|92}00&Signature={Zm9v~|YmFy~}&Key-Pair-Id={K1|K2}",
    "CloudFront policy": "Policy={eyJ|eyK}&Signature={a|b}",
    "Alibaba": (
        "OSSAccessKeyId={L1|L2}&Expires=1767225{6|7}00&Signature={a%3D|b%3D}&"
        "security-token={CAI|CBI}"
    ),
    "Alibaba, version 4": "x-oss-date=20260101T000{0|1}00Z&x-oss-expires=60&x-oss-signature={a|b}",
    "Tencent": (
        "q-sign-algorithm=sha1&q-ak={A|B}&q-sign-time=176722{5600;17672292|9200;17672328}00&"
        "q-key-time={1;2|2;3}&q-signature={a|b}"
    ),
    "Huawei": "AccessKeyId={H|I}&Expires={1|2}&Signature={a|b}",
    "Qiniu": "e=176722{56|92}00&token={ak:sign1|ak:sign2}",
    "Akamai": "hdnts=st={1~exp=2~acl=/*~hmac=aa|3~exp=4~acl=/*~hmac=bb}",
    "Bunny": "token={a-b_c|d-e_f}&expires=176722{56|92}00",
    "Cloudflare": "verify=176722{5600-a|9200-b}%2B",
    "Fastly": "token=176722{5600_0xaa|9200_0xbb}",
    "Wangsu": "wsSecret={aa|bb}&wsTime={69559|69560}",
    "Swift": "temp_url_sig={aa|bb}&temp_url_expires={1|2}",
    "Supabase": "token=eyJhbGciOi.{1.x|2.y}",
    "SharePoint": "UniqueId=1f&tempauth={v1.aa|v1.bb}",
    "imgix": "w=400&s={0|f}123456789abcdef01234567",
    "nginx": "md5={aB_1|aB_2}&expires=176722{56|92}00",
    "a gateway's own": "st={q8_Xy3ZtW9kLmNoP|A8_Xy3ZtW9kLmNoQ}&t=1767225{6|7}00",
    "a bare token": "{eyJhbGciOiJIUzI1NiJ9.1.a|eyJhbGciOiJIUzI1NiJ9.2.b}",
    "a moment alone": "until=176722{56|92}00",
    "a date alone": "until=2026{-01-01T00:00:00Z|0102}",
    "signed for the first time": "{|X-Amz-Signature=aa}",
    "signed no more": "{sig=aa|}",
    "TikTok": "x-expires=176722{56|92}00&x-signature={aa|bb}",
    "a session's id": "X-Xet-Session-Id={01J1|01J2}&Expires=176722{56|92}00&Signature={aa|bb}",
    "a request's id": "requestId={3|4}f0c6f6e-1111-4222-8333-444455556666&sig={a|b}",
    "a trace": "traceId={1|2}&sig={a|b}",
    "Expires with a word before it": "linkExpires={17|18}&sig={a|b}",
    "a key's id with a word before it": "cdnKeyId={1|2}&mac=a1",
    "another extra beside": "sig={aa|bb}&region={eu|us}",
    "another order": "{Expires=1&Signature=a|Signature=b&Expires=2}",
}


def both(template: str) -> tuple[str, str]:
    """Return the two queries of a template."""
    first, second = (re.sub(r"\{(.*?)\|(.*?)\}", rf"\{place}", template) for place in (1, 2))
    return first, second


SIGNED_ANEW = {name: both(template) for name, template in TEMPLATES.items()}


@pytest.mark.parametrize("name", SIGNED_ANEW)
def test_a_link_that_was_signed_anew_names_the_same_file(name: str) -> None:
    """Neither date nor signature tells files apart, with a name of the request or without."""
    before, now = (f"{PLACE}?{query}" for query in SIGNED_ANEW[name])
    assert telling_parameters(before, now, is_named=False) == []
    assert telling_parameters(now, before, is_named=True) == []
    assert without_signature(before) == without_signature(now)


# Queries that name two files, and the parameters by which they do.
OTHER_FILES: dict[str, tuple[str, list[str]]] = {
    "an id": ("id={1|2}", ["id"]),
    "an id, signed": ("id={1|2}&sig={a|b}", ["id"]),
    "an id in capitals": ("videoId={a|b}", ["videoId"]),
    "an id that is long": ("id=0123456789abcdef0{1|2}", ["id"]),
    "a UUID": ("asset={3|4}f0c6f6e-1111-4222-8333-444455556666", ["asset"]),
    "a file": ("file={a.mp4|b.mp4}&token={x|y}", ["file"]),
    "a path": ("path={%2Fa|%2Fb}&Expires={1|2}&Signature={x|y}", ["path"]),
    "a version": ("versionId={1|2}&X-Amz-Signature={a|b}", ["versionId"]),
    "a letter": ("v={dQw4w9WgXcQ|oHg5SJYRHA0}", ["v"]),
    "a number": ("n={1|2}", ["n"]),
    "a part": ("part={1|2}&part={2|1}", ["part"]),
    "an index": ("{item[]=1|item[]=2&id=3}", ["item[]", "id"]),
    "an id that comes": ("{|id=2}", ["id"]),
    "an id that goes": ("{id=2&sig=a|sig=b}", ["id"]),
    "a snapshot": ("snapshot=2026-0{1|2}-01T00:00:00.0000000Z&sig={a|b}", ["snapshot"]),
    "two of them": ("scene={1|2}&take={1|2}", ["scene", "take"]),
    "a page": ("page={1|2}", ["page"]),
    "a language": ("lang={de|en}", ["lang"]),
    "a quality": ("quality={hd|sd}", ["quality"]),
}


@pytest.mark.parametrize("name", OTHER_FILES)
@pytest.mark.parametrize("is_named", [False, True])
def test_a_query_that_names_another_file(name: str, is_named: bool) -> None:  # noqa: FBT001
    """The old result is never given for it, nor is it taken for a row that was shifted."""
    template, telling = OTHER_FILES[name]
    before, now = both(template)
    found = telling_parameters(f"{PLACE}?{before}", f"{PLACE}?{now}", is_named=is_named)
    assert found == telling


@pytest.mark.parametrize(
    "query",
    ["foo={n}", "cb={n}", "t={n}", "region={n}", "{n}", "x=3f0c6f6e-1111-4222-8333-44445555666{n}"],
)
def test_what_cannot_be_told_counts_for_a_request_without_a_name(query: str) -> None:
    """A wrong result costs more than a refusal; a name of the request is the way out."""
    before, now = (f"{PLACE}?{query.format(n=number)}" for number in (1, 2))
    assert telling_parameters(before, now, is_named=False) != []
    assert telling_parameters(before, now, is_named=True) == []


@pytest.mark.parametrize(
    "other",
    [
        *("http://media.example/private/take.mp4", "https://other.example/private/take.mp4"),
        *("https://media.example:444/private/take.mp4", "https://media.example/private/take2.mp4"),
        *("https://media.example/private/take.mp4/", "https://user@media.example/private/take.mp4"),
        *("https://[bad/private/take.mp4", ""),
    ],
)
def test_all_but_the_query_counts(other: str) -> None:
    """Another place is another file, however it is signed."""
    assert telling_parameters(f"{PLACE}?sig=a", f"{other}?sig=b", is_named=True) is None
    assert without_signature(f"{PLACE}?sig=a") != without_signature(f"{other}?sig=b")


def test_a_fragment_is_never_sent() -> None:
    """What stands behind # is for the reader of an address; hosts have no case."""
    other = PLACE.replace("media.example", "MEDIA.example")
    assert telling_parameters(f"{PLACE}#t=1", f"{other}#t=2", is_named=False) == []


QUERIES = st.text(st.sampled_from("adeginstuv019=&;%+#?[]/-_. \n\u00e9\u2028\ud800"), max_size=40)


@given(QUERIES, QUERIES)
def test_anything_may_stand_in_a_query(before: str, now: str) -> None:
    """Whatever the text is, the answer is a list, or that the addresses differ; and it is fair."""
    found = telling_parameters(f"{PLACE}?{before}", f"{PLACE}?{now}", is_named=False)
    back = telling_parameters(f"{PLACE}?{now}", f"{PLACE}?{before}", is_named=False)
    assert (found is None) == (back is None)
    assert sorted(found or []) == sorted(back or [])
    assert telling_parameters(before, before, is_named=False) in ([], None)

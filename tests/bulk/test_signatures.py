"""Links that were signed anew name the same file; links that name another file do not."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from lipsync_async._bulk.fingerprint import telling_parameters, without_signature

PLACE = "https://media.example/private/take.mp4"

# Two links to one file as stores and gateways write them, the second some minutes later.
SIGNED_ANEW: dict[str, tuple[str, str]] = {
    "AWS Signature 4": (
        "X-Amz-Credential=A&X-Amz-Date=20260101T000000Z&X-Amz-Expires=9&X-Amz-Signature=0a&x-id=G",
        "X-Amz-Credential=B&X-Amz-Date=20260102T000000Z&X-Amz-Expires=9&X-Amz-Signature=9f&x-id=G",
    ),
    "AWS with a session": (
        "X-Amz-Security-Token=IQoJb3&X-Amz-Signature=1",
        "X-Amz-Security-Token=FwoGZX&X-Amz-Signature=2",
    ),
    "AWS Signature 2": (
        "AWSAccessKeyId=AKIA1&Expires=1767225600&Signature=a%2Bb%3D",
        "AWSAccessKeyId=ASIA2&Expires=1767229200&Signature=c%2Fd%3D",
    ),
    "Google, version 4": (
        "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Date=20260101T000000Z&X-Goog-Signature=aa",
        "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Date=20260101T010000Z&X-Goog-Signature=bb",
    ),
    "Google, version 2": (
        "GoogleAccessId=a%40b&Expires=1767225600&Signature=x",
        "GoogleAccessId=a%40b&Expires=1767225999&Signature=y",
    ),
    "Firebase": (
        "alt=media&token=3f0c6f6e-1111-4222-8333-444455556666",
        "alt=media&token=4f0c6f6e-1111-4222-8333-444455556666",
    ),
    "Azure account key": (
        "sv=2024-11-04&ss=b&srt=o&sp=r&se=2026-01-01T00%3A00%3A00Z&spr=https&sig=a%3D",
        "sv=2025-01-05&ss=b&srt=o&sp=rl&se=2026-01-01T01%3A00%3A00Z&spr=https&sig=b%3D",
    ),
    "Azure user delegation": (
        "skoid=1&sktid=2&skt=2026-01-01T00%3A00%3A00Z&ske=2026-01-02&sks=b&skv=1&sr=b&sig=a",
        "skoid=3&sktid=2&skt=2026-01-02T00%3A00%3A00Z&ske=2026-01-03&sks=b&skv=1&sr=b&sig=b",
    ),
    "CloudFront": (
        "Expires=1767225600&Signature=Zm9v~&Key-Pair-Id=K1",
        "Expires=1767229200&Signature=YmFy~&Key-Pair-Id=K2",
    ),
    "CloudFront policy": ("Policy=eyJ&Signature=a", "Policy=eyK&Signature=b"),
    "Alibaba": (
        "OSSAccessKeyId=L1&Expires=1767225600&Signature=a%3D&security-token=CAI",
        "OSSAccessKeyId=L2&Expires=1767225700&Signature=b%3D&security-token=CBI",
    ),
    "Alibaba, version 4": (
        "x-oss-date=20260101T000000Z&x-oss-expires=60&x-oss-signature=a",
        "x-oss-date=20260101T000100Z&x-oss-expires=60&x-oss-signature=b",
    ),
    "Tencent": (
        "q-sign-algorithm=sha1&q-ak=A&q-sign-time=1767225600;1767229200&q-key-time=1;2&q-signature=a",
        "q-sign-algorithm=sha1&q-ak=B&q-sign-time=1767229200;1767232800&q-key-time=2;3&q-signature=b",
    ),
    "Huawei": ("AccessKeyId=H&Expires=1&Signature=a", "AccessKeyId=I&Expires=2&Signature=b"),
    "Qiniu": ("e=1767225600&token=ak:sign1", "e=1767229200&token=ak:sign2"),
    "Akamai": (
        "hdnts=st=1~exp=2~acl=/*~hmac=aa",
        "hdnts=st=3~exp=4~acl=/*~hmac=bb",
    ),
    "Bunny": ("token=a-b_c&expires=1767225600", "token=d-e_f&expires=1767229200"),
    "Cloudflare": ("verify=1767225600-a%2B", "verify=1767229200-b%2B"),
    "Fastly": ("token=1767225600_0xaa", "token=1767229200_0xbb"),
    "Wangsu": ("wsSecret=aa&wsTime=69559", "wsSecret=bb&wsTime=69560"),
    "Swift": ("temp_url_sig=aa&temp_url_expires=1", "temp_url_sig=bb&temp_url_expires=2"),
    "Supabase": ("token=eyJhbGciOi.1.x", "token=eyJhbGciOi.2.y"),
    "SharePoint": ("UniqueId=1f&tempauth=v1.aa", "UniqueId=1f&tempauth=v1.bb"),
    "imgix": ("w=400&s=0123456789abcdef01234567", "w=400&s=f123456789abcdef01234567"),
    "nginx": ("md5=aB_1&expires=1767225600", "md5=aB_2&expires=1767229200"),
    "a gateway's own": ("st=q8_Xy3ZtW9kLmNoP&t=1767225600", "st=A8_Xy3ZtW9kLmNoQ&t=1767225700"),
    "a bare token": ("eyJhbGciOiJIUzI1NiJ9.1.a", "eyJhbGciOiJIUzI1NiJ9.2.b"),
    "a moment alone": ("until=1767225600", "until=1767229200"),
    "a date alone": ("until=2026-01-01T00:00:00Z", "until=20260102"),
    "signed for the first time": ("", "X-Amz-Signature=aa"),
    "signed no more": ("sig=aa", ""),
    "TikTok": ("x-expires=1767225600&x-signature=aa", "x-expires=1767229200&x-signature=bb"),
    "a session's id": (
        "X-Xet-Session-Id=01J1&Expires=1767225600&Signature=aa",
        "X-Xet-Session-Id=01J2&Expires=1767229200&Signature=bb",
    ),
    "a request's id": (
        "requestId=3f0c6f6e-1111-4222-8333-444455556666&sig=a",
        "requestId=4f0c6f6e-1111-4222-8333-444455556666&sig=b",
    ),
    "a trace": ("traceId=1&sig=a", "traceId=2&sig=b"),
    "Expires with a word before it": ("linkExpires=17&sig=a", "linkExpires=18&sig=b"),
    "a key's id with a word before it": ("cdnKeyId=1&mac=a1", "cdnKeyId=2&mac=a1"),
    "another extra beside": ("sig=aa&region=eu", "sig=bb&region=us"),
    "another order": ("Expires=1&Signature=a", "Signature=b&Expires=2"),
}


@pytest.mark.parametrize("name", SIGNED_ANEW)
def test_a_link_that_was_signed_anew_names_the_same_file(name: str) -> None:
    """Neither date nor signature tells files apart, with a name of the request or without."""
    before, now = (f"{PLACE}?{query}" for query in SIGNED_ANEW[name])
    assert telling_parameters(before, now, is_named=False) == []
    assert telling_parameters(now, before, is_named=True) == []
    assert without_signature(before) == without_signature(now)


# Queries that name two files, and the parameters by which they do.
OTHER_FILES: dict[str, tuple[str, str, list[str]]] = {
    "an id": ("id=1", "id=2", ["id"]),
    "an id, signed": ("id=1&sig=a", "id=2&sig=b", ["id"]),
    "an id in capitals": ("videoId=a", "videoId=b", ["videoId"]),
    "an id that is long": ("id=0123456789abcdef01", "id=0123456789abcdef02", ["id"]),
    "a UUID": (
        "asset=3f0c6f6e-1111-4222-8333-444455556666",
        "asset=4f0c6f6e-1111-4222-8333-444455556666",
        ["asset"],
    ),
    "a file": ("file=a.mp4&token=x", "file=b.mp4&token=y", ["file"]),
    "a path": ("path=%2Fa&Expires=1&Signature=x", "path=%2Fb&Expires=2&Signature=y", ["path"]),
    "a version": ("versionId=1&X-Amz-Signature=a", "versionId=2&X-Amz-Signature=b", ["versionId"]),
    "a letter": ("v=dQw4w9WgXcQ", "v=oHg5SJYRHA0", ["v"]),
    "a number": ("n=1", "n=2", ["n"]),
    "a part": ("part=1&part=2", "part=2&part=1", ["part"]),
    "an index": ("item[]=1", "item[]=2&id=3", ["item[]", "id"]),
    "an id that comes": ("", "id=2", ["id"]),
    "an id that goes": ("id=2&sig=a", "sig=b", ["id"]),
    "a snapshot": (
        "snapshot=2026-01-01T00:00:00.0000000Z&sig=a",
        "snapshot=2026-02-01T00:00:00.0000000Z&sig=b",
        ["snapshot"],
    ),
    "two of them": ("scene=1&take=1", "scene=2&take=2", ["scene", "take"]),
    "a page": ("page=1", "page=2", ["page"]),
    "a language": ("lang=de", "lang=en", ["lang"]),
    "a quality": ("quality=hd", "quality=sd", ["quality"]),
}


@pytest.mark.parametrize("name", OTHER_FILES)
@pytest.mark.parametrize("is_named", [False, True])
def test_a_query_that_names_another_file(name: str, is_named: bool) -> None:  # noqa: FBT001
    """The old result is never given for it, nor is it taken for a row that was shifted."""
    before, now, telling = OTHER_FILES[name]
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
        "http://media.example/private/take.mp4",
        "https://other.example/private/take.mp4",
        "https://media.example:444/private/take.mp4",
        "https://media.example/private/take2.mp4",
        "https://media.example/private/take.mp4/",
        "https://user@media.example/private/take.mp4",
        "https://[bad/private/take.mp4",
        "",
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

"""Addresses that no longer work, or never did: renewed, tried again, or one error in words."""

from pathlib import Path
from typing import Any

import pytest

from lipsync_async import (
    AuthenticationError,
    DownloadError,
    Generation,
    LipsyncError,
    NotFoundError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    Status,
)
from lipsync_async._models.http import Response
from tests.client.media_world import FILM, MEDIA, Says, names_in, opened_world, saved

OLD, FRESH, RESOLVED = "/old.mp4", "/fresh.mp4", "/resolved.mp4"
LOOK, ASK = "/v2/generate/g1", "/v2/generations/g1/download"
GONE = Says(b"gone", 410)


def xml(code: str) -> bytes:
    """Return an error as S3 and its like write it."""
    return f'<?xml version="1.0"?><Error><Code>{code}</Code></Error>'.encode()


# What stores say of links that have expired, or that they do not honour any more.
EXPIRED: dict[str, tuple[int, bytes]] = {
    "S3": (403, xml("AccessDenied")),
    "S3, expired": (403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"),
    "S3, temporary credentials": (400, xml("ExpiredToken")),
    "S3, no such token": (403, xml("InvalidAccessKeyId")),
    "S3, token of another region": (400, xml("InvalidToken")),
    "S3, clock": (403, xml("RequestTimeTooSkewed")),
    "S3, signature": (403, xml("SignatureDoesNotMatch")),
    "S3, query": (400, xml("AuthorizationQueryParametersError")),
    "S3, object": (404, xml("NoSuchKey")),
    "S3, bucket moved": (400, xml("PermanentRedirect")),
    "R2": (400, xml("ExpiredRequest")),
    "MinIO": (403, xml("ExpiredToken")),
    "GCS": (400, xml("ExpiredToken")),
    "GCS, policy": (403, xml("AccessDenied")),
    "GCS, in JSON": (401, b'{"error": {"code": 401, "message": "Invalid Credentials"}}'),
    "Azure": (403, xml("AuthenticationFailed")),
    "Azure, version": (400, xml("InvalidHeaderValue")),
    "Azure, query": (400, xml("InvalidQueryParameterValue")),
    "Azure, container": (404, xml("ContainerNotFound")),
    "Azure, public access": (409, xml("PublicAccessNotPermitted")),
    "Azure, condition": (412, xml("ConditionNotMet")),
    "CloudFront": (403, xml("AccessDenied")),
    "CloudFront, key pair": (403, b"MissingKey: Missing Key-Pair-Id query parameter"),
    "Supabase": (400, b'{"statusCode":"400","error":"InvalidJWT","message":"jwt expired"}'),
    "Supabase, claim": (400, b'{"error":"Invalid JWT","message":"\\"exp\\" claim check failed"}'),
    "Supabase, signature": (400, b'{"statusCode":"400","error":"InvalidSignature"}'),
    "Backblaze": (401, b'{"code": "expired_auth_token", "status": 401}'),
    "Swift": (401, b"401 Unauthorized: Temp URL invalid"),
    "OSS": (403, xml("AccessDenied")),
    "COS": (403, xml("RequestIsExpired")),
    "Bunny": (403, b"<html><title>Forbidden</title></html>"),
    "Akamai": (403, b"<HTML><BODY>Access Denied</BODY></HTML>"),
    "imgix": (403, b"The URL signature has expired"),
    "Dropbox": (410, b"link_expired"),
    "Vercel": (402, b"Payment required. DEPLOYMENT_DISABLED"),
    "a filter": (451, b"unavailable for legal reasons"),
    "a proxy": (407, b"proxy authentication required"),
    "too long": (414, b"URI too long"),
    "teapot": (418, b""),
    "400 and nothing": (400, b""),
    "400 and half a line": (400, b"<Er"),
    "400 in UTF-16": (400, "jwt expired".encode("utf-16")),
    "400 and bytes": (400, bytes(range(256)) * 100),
    "nothing to say": (204, b""),
    "not yet": (202, b"being prepared"),
    "not modified": (304, b""),
    "several": (300, b"choose one"),
    "a page": (200, b"<html><title>Link expired</title></html>"),
    "a JSON error": (200, b'{"error": "link expired"}'),
    **{
        f"{status} as the account would say it": (status, b'{"errorCode": "insufficient_credits"}')
        for status in (401, 402, 403)
    },
}


@pytest.mark.parametrize("store", EXPIRED)
async def test_an_expired_link_is_renewed(tmp_path: Path, store: str) -> None:
    """Each address is asked once and at once; the error says what the last one answered."""
    status, body = EXPIRED[store]
    async with opened_world() as (client, world):
        world.plan_all(Says(body, status))
        with pytest.raises(LipsyncError, match="every address is refused") as caught:
            await client.generations.download(world.job, tmp_path)
        assert world.visits == [OLD, LOOK, FRESH, ASK, RESOLVED]
        assert type(caught.value) is DownloadError  # and none that would end a run
        assert str(status) in str(caught.value) or status == 200
        assert caught.value.generation == world.job
        assert caught.value.is_retryable
        assert names_in(tmp_path) == []
        world.visits.clear()
        world.plan("fresh.mp4", Says())
        assert await saved(client, world, tmp_path) == FILM
        assert world.visits == [OLD, LOOK, FRESH]
        assert world.clock.now() == 0
    assert names_in(tmp_path) == ["fresh.mp4"]


@pytest.mark.parametrize("late", [1, 2])
async def test_the_same_address_once_more_after_a_pause(tmp_path: Path, late: int) -> None:
    """Where the service only repeats the address, the media may be late: it is tried again."""
    async with opened_world() as (client, world):
        world.fresh = world.resolved = world.known
        world.plan("old.mp4", *[Says(b"", 404)] * late, Says())
        if late == 1:
            assert await saved(client, world, tmp_path) == FILM
        else:
            with pytest.raises(DownloadError, match="it answered 404"):
                await client.generations.download(world.job, tmp_path)
        assert world.visits == [OLD, LOOK, ASK, OLD]
        assert world.clock.now() == 2.0


@pytest.mark.parametrize(
    ("known", "fresh", "resolved", "expected"),
    [
        ("a", "b", "c", "abc"),
        ("a", "b", "b", "ab"),
        ("a", "a", "b", "ab a"),
        ("a", "b", "a", "ab a"),
        ("a", "a", "a", "a a"),
        ("a", None, "b", "ab"),
        ("a", None, "a", "a a"),
        ("a", "b", 404, "ab"),
        ("a", "a", 404, "a a"),
        ("a", "a", 500, "a a"),
        ("a", "a", "no address", "a a"),
        ("a", None, 404, "a"),
        (None, "a", "b", "ab"),
        (None, "a", "a", "a a"),
        (None, "a", 404, "a"),
        (None, None, "a", "a"),
    ],
)
async def test_which_addresses_are_asked(
    tmp_path: Path, known: str | None, fresh: Any, resolved: Any, expected: str
) -> None:
    """Each that is told, once; the first again after a pause, where the service repeats it."""
    quick = RetryPolicy(attempts=1)

    def at(name: Any) -> Any:
        return f"{MEDIA}/{name}" if isinstance(name, str) and len(name) == 1 else name

    async with opened_world(quick) as (client, world):
        world.known, world.fresh, world.resolved = at(known), at(fresh), at(resolved)
        for name in "abc":
            world.plan(name, GONE)
        with pytest.raises(DownloadError):
            await client.generations.download(world.job, tmp_path)
        asked = [visit[1:] for visit in world.visits if len(visit) == 2]
        assert asked == [*expected.replace(" ", "")]
        assert world.clock.now() == (2.0 if " " in expected else 0.0)


async def test_a_service_without_any_address(tmp_path: Path) -> None:
    """A job without a result is an error, too, and a soon one."""
    async with opened_world() as (client, world):
        world.known = world.fresh = None
        world.resolved = 404
        with pytest.raises(DownloadError, match="the service tells no address"):
            await client.generations.download(world.job, tmp_path)
        assert world.visits == [LOOK, ASK]


async def test_a_job_that_is_unknown(tmp_path: Path) -> None:
    """Without any address, what the service answers is the error."""
    async with opened_world() as (client, world):
        world.known, world.fresh = None, 404
        with pytest.raises(NotFoundError) as caught:
            await client.generations.download(world.job, tmp_path)
        assert caught.value.generation == world.job


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_a_service_that_knows_the_job_no_more(tmp_path: Path, status: int) -> None:
    """Then the error tells both: why the address is refused, and why there is no fresh one."""
    async with opened_world() as (client, world):
        world.plan("old.mp4", Says(b"expired", 403))
        world.fresh = status
        with pytest.raises(DownloadError, match="it answered 403: 'expired'") as caught:
            await client.generations.download(world.job, tmp_path)
        assert f"/v2/generate/g1 answered {status}" in str(caught.value)
        assert getattr(caught.value.__cause__, "status", None) == status


async def test_a_dead_key_is_told_as_such(tmp_path: Path) -> None:
    """What ends a whole run must not look like trouble with one file."""
    for endpoint in ("fresh", "resolved"):
        async with opened_world() as (client, world):
            world.plan("old.mp4", GONE)
            world.plan("fresh.mp4", GONE)
            setattr(world, endpoint, 401)
            with pytest.raises(AuthenticationError):
                await client.generations.download(world.job, tmp_path)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, RateLimitError), (500, ServerError), (503, ServerError), (522, ServerError)],
)
async def test_a_host_that_is_ill_is_tried_again(
    tmp_path: Path, status: int, kind: type[LipsyncError]
) -> None:
    """A busy or broken host may recover; its address is not renewed for that."""
    body = b'{"concurrencyLimit": 1, "activeGenerations": 1}'
    async with opened_world() as (client, world):
        world.plan("old.mp4", *[Says(body, status)] * 5, Says())
        assert await saved(client, world, tmp_path) == FILM
        world.plan("old.mp4", Says(body, status))
        with pytest.raises(kind) as caught:
            await client.generations.download(world.job, tmp_path)
        assert type(caught.value) is kind
        assert caught.value.generation == world.job
        assert world.visits == [OLD] * 12


async def test_a_link_that_expires_on_the_way_is_gone_on_with(tmp_path: Path) -> None:
    """What came by the old link is kept, if the new one is for the same file unchanged."""
    half = len(FILM) // 2
    told = {"etag": '"v1"', "content-length": str(len(FILM))}
    place = {"etag": '"v1"', "content-range": f"bytes {half}-{len(FILM) - 1}/{len(FILM)}"}
    async with opened_world() as (client, world):
        world.known, world.fresh = f"{MEDIA}/v.mp4?signature=1", f"{MEDIA}/v.mp4?signature=2"
        world.plan("v.mp4", Says(FILM[:half], 200, told), GONE, Says(FILM[half:], 206, place))
        assert await saved(client, world, tmp_path) == FILM
        assert world.ranges == [None, f"bytes={half}-", f"bytes={half}-"]
        assert [url[-1] for url in (request.url for request in world.requests)] == ["1", "1", "2"]


async def test_another_file_is_fetched_from_its_beginning(tmp_path: Path) -> None:
    """A validator means nothing at another path, whatever it says."""
    told = {"etag": '"v1"', "content-length": str(len(FILM))}
    async with opened_world() as (client, world):
        world.plan("old.mp4", Says(FILM[:100], 200, told), GONE)
        world.plan("fresh.mp4", Says(FILM, 200, told))
        assert await saved(client, world, tmp_path) == FILM
        assert "range" not in world.requests[-1].headers


async def test_nothing_of_a_page_gets_into_the_file(tmp_path: Path) -> None:
    """A page that came first, with a validator and all, leaves no byte behind."""
    page = b"<html>" + b"x" * 5000
    told = {"etag": '"page"', "content-length": str(len(page) + 10)}
    async with opened_world() as (client, world):
        world.known, world.fresh = f"{MEDIA}/v.mp4?1", f"{MEDIA}/v.mp4?2"
        world.plan("v.mp4", Says(page, 200, told), Says())
        assert await saved(client, world, tmp_path) == FILM
        assert world.ranges == [None, None]


ODD_ADDRESSES: list[Any] = [
    *("//cdn.example/v.mp4", " ", "file:///etc/passwd", "http://h:port/x"),
    *("http://user:secret@h/x", "https://h/a\r\nb", "https://h/" + "a" * 100_000),
    *(5, b"https://h/x", {"url": "https://h/x"}, True),
]


@pytest.mark.parametrize("address", ODD_ADDRESSES, ids=range(len(ODD_ADDRESSES)))
async def test_an_odd_address_is_renewed_or_refused_in_words(tmp_path: Path, address: Any) -> None:
    """No address is too odd for a package error that says what is wrong with it."""
    async with opened_world() as (client, world):
        world.known = address
        assert await saved(client, world, tmp_path) == FILM
        world.fresh = world.resolved = None
        with pytest.raises(DownloadError, match="is refused") as caught:
            await client.generations.download(world.job, tmp_path / "other")
        assert "secret" not in str(caught.value)
        assert len(str(caught.value)) < 500
        assert world.clock.now() == 0


@pytest.mark.parametrize(
    "location",
    [
        *("", "ftp://h/v", "file:///etc/passwd", "https://user:secret@h/v", "https://[bad"),
        *("/old.mp4", "https://media.example/old.mp4?again", "//media.example/old.mp4"),
        *("#here", "?a"),
    ],
)
async def test_a_redirect_to_nowhere_is_renewed_or_refused(tmp_path: Path, location: str) -> None:
    """A circle, and a pointer out of the web, are refusals; nothing is read from this machine."""
    async with opened_world() as (client, world):
        world.plan("old.mp4", Says(b"", 302, {"location": location}))
        assert await saved(client, world, tmp_path) == FILM
        assert world.visits.count(OLD) in {1, 6}
        world.fresh, world.resolved = world.known, 404
        with pytest.raises(DownloadError, match=r"redirects|points to"):
            await client.generations.download(world.job, tmp_path / "other")


async def test_an_address_that_needs_escaping_is_asked(tmp_path: Path) -> None:
    """What browsers would ask for is asked for."""
    async with opened_world() as (client, world):
        world.known = f" {MEDIA}/für alle.mp4 "
        await client.generations.download(world.job, tmp_path)
        assert world.visits == ["/f%C3%BCr%20alle.mp4"]


async def test_a_job_that_is_not_completed_any_more(tmp_path: Path) -> None:
    """What was seen as COMPLETED is fetched, whatever a later look says."""
    async with opened_world() as (client, world):
        world.plan("old.mp4", GONE)
        job = Generation(id="g1", status=Status.COMPLETED, output_media_url=world.known)
        path = await client.generations.download(job, tmp_path)
        assert path.name == "fresh.mp4"


NOT_FOUND = Response("GET", f"{MEDIA}/", 404, {}, b"")
OWN = [ValueError("mine"), NotFoundError(response=NOT_FOUND, message="mine")]


@pytest.mark.parametrize("known", [None, f"{MEDIA}/old.mp4"])
@pytest.mark.parametrize("endpoint", ["fresh", "resolved"])
@pytest.mark.parametrize("error", OWN)
async def test_what_a_callback_raises_is_no_trouble_with_the_file(
    tmp_path: Path, known: str | None, endpoint: str, error: Exception
) -> None:
    """It comes out as it is, also where it looks like a refusal of the service."""

    def seen(response: Response) -> None:
        if response.url.endswith("/download") == (endpoint == "resolved"):
            raise error

    async with opened_world() as (client, world):
        world.known = known
        for name in ("old.mp4", "fresh.mp4"):
            world.plan(name, GONE)
        telling = client.with_options(on_response=seen, retry=RetryPolicy(attempts=1))
        with pytest.raises(type(error), match="mine"):
            await telling.generations.download(world.job, tmp_path)


async def test_what_a_transport_should_never_raise(tmp_path: Path) -> None:
    """Anything else that goes wrong is an error of this package with the job on it."""
    odd: Any = {"content-length": 5}
    async with opened_world() as (client, world):
        world.plan("old.mp4", Says(headers=odd))
        with pytest.raises(DownloadError, match="fetching it raised AttributeError") as caught:
            await client.generations.download(world.job, tmp_path)
        assert caught.value.generation == world.job
    assert names_in(tmp_path) == []

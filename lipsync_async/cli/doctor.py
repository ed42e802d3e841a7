"""The command `doctor`: what may keep this machine from working with the service."""

from __future__ import annotations

import os
import platform
import time
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from lipsync_async._async.client import AsyncClient
from lipsync_async._enums import __version__
from lipsync_async._logic.config import DEFAULT_BASE_URL, settle
from lipsync_async._models.policies import RetryPolicy
from lipsync_async.cli.output import ExitStatus, answer, error_lines, in_arguments, plural
from lipsync_async.errors import AuthenticationError, LipsyncError, ResponseError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from lipsync_async._models.account import Account
    from lipsync_async._models.http import Response

_TIMEOUT = 15.0  # seconds for the one request
# Webhooks are refused where the clocks differ by five minutes, and signed links end early.
_MOST_SECONDS = 60.0
_EXTRAS = {
    "progress": ("bar of `generate` and `run`", ("rich",)),
    "sandbox": ("sandbox that renders", ("av", "numpy", "PIL", "espeakng_loader")),
    "lips": ("lips of any face in the sandbox", ("ai_edge_litert", "platformdirs")),
    "cli": ("completion of commands", ("argcomplete",)),
}


class Check(NamedTuple):
    """Result of a check."""

    name: str
    is_fine: bool
    found: str
    fix: str | None = None


def _fine(name: str, found: str, fix: str | None = None) -> Check:
    return Check(name, is_fine=True, found=found, fix=fix)


def _wrong(name: str, found: str, fix: str | None = None) -> Check:
    return Check(name, is_fine=False, found=found, fix=fix)


async def doctor(_typed: argparse.Namespace) -> ExitStatus:
    """Check everything, and tell how to fix what is wrong."""
    checks = [_fine("version", f"{__version__}, on Python {platform.python_version()}")]
    checks += _settings(dict(os.environ))
    if all(check.is_fine for check in checks):
        checks += await _service()
        checks.append(await _store())
    checks += _extras()
    is_fine = all(check.is_fine for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{'ok' if check.is_fine else 'WRONG':<6} {check.name:<8} {check.found}")
        if check.fix is not None:
            lines.append(f"{'':<15} {check.fix}")
    lines.append("Everything is fine." if is_fine else "Something is wrong.")
    answer({"is_fine": is_fine, "checks": [check._asdict() for check in checks]}, *lines)
    return ExitStatus.SUCCESS if is_fine else ExitStatus.FAILURE


def _settings(environment: dict[str, str]) -> Iterator[Check]:
    """Check what the environment says; the key itself is never shown."""
    key, address = environment.get("SYNC_API_KEY", ""), environment.get("SYNC_BASE_URL")
    if not key:
        yield _wrong(
            "key",
            "SYNC_API_KEY is not set",
            "Set it to a key of your account, or to that of `lipsync-async sandbox`.",
        )
    else:
        _, problems = settle(key, DEFAULT_BASE_URL, {})
        said = "; ".join(problems) or f"SYNC_API_KEY is set ({len(key)} characters)"
        yield Check("key", is_fine=not problems, found=said)
        key = "" if problems else key
    # A key of a sandbox, because it is not the key that is checked here.
    config, problems = settle(key or "sandbox-none", address or DEFAULT_BASE_URL, environment)
    said = "; ".join(map(in_arguments, problems)) or config.base_url
    yield Check(
        "address",
        is_fine=not problems,
        found=said if address else f"{said} (the usual one)",
    )
    if not problems:
        way = config.proxies.way_to(config.base_url)
        proxy = "none" if way is None else _without_password(way.url)
        yield _fine("proxy", proxy)


def _without_password(url: str) -> str:
    """Return an address without user, password and query; a store's may name several hosts."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


async def _service() -> list[Check]:
    """Ask the service once, and judge its answer."""
    answers: list[tuple[float, Response]] = []
    account: Account | None = None
    try:
        # Without the account store, which has a check of its own, and would keep the answer.
        async with AsyncClient(
            account="",
            timeout=_TIMEOUT,
            retry=RetryPolicy(attempts=1),
            on_response=lambda response: answers.append((time.time(), response)),
        ) as client:
            account = await client.account.get()
    except AuthenticationError as error:
        checks = [_wrong("service", "the key was refused", in_arguments(_one(error)))]
    except ResponseError as error:
        checks = [_wrong("service", f"answered {error.status}", in_arguments(_one(error)))]
    except LipsyncError as error:
        fix = "Check the address, the network, and whether a proxy is needed (HTTPS_PROXY)."
        checks = [_wrong("service", in_arguments(_one(error)), fix)]
    else:
        # What the service documents of an account.
        is_account = account.organization is not None or account.credential_type is not None
        checks = [
            _fine("service", "answers, and takes the key")
            if is_account
            else _wrong(
                "service",
                "answers, but shows no account",
                "Check that the address is the service's, and not that of a login page or proxy.",
            )
        ]
    for now, response in answers[-1:]:
        checks.append(_clock(response.headers.get("date"), now))
    if account is not None:
        checks.append(_fine("limits", _limits(account)))
    return checks


async def _store() -> Check:
    """Ask the account store what is in use, which changes nothing there."""
    try:
        async with AsyncClient() as client:
            shared = await client.account.shared()
    except LipsyncError as error:
        fix = "Until it works, no job is created. Unset SYNC_ACCOUNT if no limits are to be shared."
        return _wrong("store", in_arguments(_one(error)), fix)
    address = _without_password(os.environ.get("SYNC_ACCOUNT", ""))
    found = "none: SYNC_ACCOUNT is not set" if shared is None else f"{address} answers"
    return _fine("store", found)


def _one(error: LipsyncError) -> str:
    return " ".join(error_lines(error))


def _clock(date: str | None, now: float) -> Check:
    """Compare this machine's clock with the service's."""
    try:
        ahead = now - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return _fine("clock", "not compared: the service did not send its time")
    if abs(ahead) <= _MOST_SECONDS:
        return _fine("clock", f"as the service's, to {max(1, abs(round(ahead)))} s")
    side = "ahead of" if ahead > 0 else "behind"
    return _wrong(
        "clock",
        f"{abs(ahead):.0f} s {side} the service's",
        "Set this machine's clock (NTP): signed links and webhooks depend on it.",
    )


def _limits(account: Account) -> str:
    plan: dict[str, Any] = account.plan or {}
    name = plan.get("name") or plan.get("id") or account.billing_model or "unknown"
    most = account.concurrent_generations
    return f"plan {name}, " + (
        f"{plural(most, 'job')} at once"
        if most
        else "the service does not tell how many jobs at once"
    )


def _extras() -> Iterator[Check]:
    """Tell which optional packages are there; none must be."""
    for extra, (purpose, modules) in _EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            hint = f"For the {purpose}: pip install 'lipsync-async[{extra}]'"
            yield _fine("extra", f"{extra}: not installed ({', '.join(missing)})", hint)
        else:
            yield _fine("extra", f"{extra}: {purpose}")

"""The project's chores: `python -m pip install nox && python -m nox -s NAME`.

Nothing but a Python (3.11 or newer) is needed; each session makes its own environment.
"""

import shutil
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "check"]

CODE = ("lipsync_async", "tests", "benchmarks", "noxfile.py")
# In this order: the list of public names shows what was generated before.
GENERATORS = (
    "lipsync_async._tools.mirror",
    "lipsync_async._tools.public_api",
    "lipsync_async._tools.readme",
)
SAMPLES = "tests/typing"

# Parts of the checkout that no user needs, and parts that every user does.
NOT_SHIPPED = ("lipsync_async/_tools/", "tests/", "benchmarks/")
SHIPPED = ("lipsync_async/py.typed", "lipsync_async/__main__.py", "lipsync_async/sandbox/")


def install(session: nox.Session, *groups: str, extras: str = "all") -> None:
    """Install the checkout itself, so that changes count at once, and some groups."""
    project = nox.project.load_toml("pyproject.toml")
    needed = nox.project.dependency_groups(project, *groups) if groups else ()
    session.env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    session.install("--editable", f".[{extras}]", *needed)


def generate(session: nox.Session, *arguments: str) -> None:
    """Run every generator."""
    for module in GENERATORS:
        session.run("python", "-m", module, *arguments)


@nox.session
def demo(session: nox.Session) -> None:
    """Show the whole way from a picture and a voice to a video, on this machine."""
    install(session, extras="sandbox,progress")
    # After Ctrl-C, time to tidy up before nox kills it.
    command = ("python", "-m", "lipsync_async", "demo", *session.posargs)
    session.run(*command, interrupt_timeout=10)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on all cores; a whole run must cover every branch."""
    install(session, "test")
    session.run("coverage", "erase")
    parallel = ("-n", "auto", "--dist", "worksteal")
    session.run("coverage", "run", "-m", "pytest", *parallel, *session.posargs)
    session.run("coverage", "combine", "--quiet")
    if not session.posargs:
        session.run("coverage", "report")


@nox.session
def coverage(session: nox.Session) -> None:
    """Write what the last run of the tests covered to `build/coverage/index.html`."""
    install(session, "test")
    session.run("coverage", "html", "--directory", "build/coverage", "--fail-under", "0")


@nox.session
def check(session: nox.Session) -> None:
    """Judge style, types and generated files; change nothing."""
    install(session, "lint", "typing", "test", "bench")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy", *CODE)
    session.run("pyright", "--verifytypes", "lipsync_async", "--ignoreexternal")
    generate(session, "--check")


@nox.session
def fix(session: nox.Session) -> None:
    """Format, mend what can be mended, and regenerate."""
    install(session, "lint")
    session.run("ruff", "check", "--fix", ".", success_codes=[0, 1])
    session.run("ruff", "format", ".")
    generate(session)


@nox.session
def regenerate(session: nox.Session) -> None:
    """Bring every generated file up to date."""
    install(session)
    generate(session)


@nox.session
def typing(session: nox.Session) -> None:
    """Let two type checkers see the package as users' code does."""
    install(session, "typing")
    session.run("mypy", SAMPLES)
    session.run("pyright", SAMPLES)


@nox.session
def peer(session: nox.Session) -> None:
    """Let the service's official client talk to the sandbox."""
    install(session, "test", "peer")
    session.run("pytest", "tests/peer", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Let runs suffer for many minutes: 100,000 jobs, and hundreds of kills."""
    install(session, "test", "bench")
    session.run("python", "-m", "benchmarks.hundred_thousand")
    session.run("pytest", "tests/soak", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure, beside the official client."""
    install(session, "test", "bench")
    session.run("pytest", "benchmarks", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel into `dist/`, and try the wheel away from the checkout."""
    session.install("build")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")
    (wheel,) = Path("dist").resolve().glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    strays = [name for name in names if name.startswith(NOT_SHIPPED)]
    missing = [part for part in SHIPPED if not any(name.startswith(part) for name in names)]
    if strays or missing:
        session.error(f"the wheel has too much: {strays}, or too little: {missing}")
    session.install("--force-reinstall", str(wheel))
    session.chdir(session.create_tmp())
    session.run("python", "-m", "lipsync_async", "--help")

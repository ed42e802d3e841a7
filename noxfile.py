"""The project's chores: `python -m pip install nox && python -m nox -s NAME`.

Nothing but a Python (3.11 or newer) is needed; each session makes its own environment.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "check"]

CODE = ("lipsync_async", "tests", "benchmarks", "noxfile.py")
# In this order: the list of public names shows what was generated before.
GENERATORS = tuple(f"lipsync_async._tools.{name}" for name in ("mirror", "public_api", "endpoints"))
SAMPLES = "tests/typing"
# Engines that have a recipe in `docs/`; each is a dependency group of its own.
ENGINES = ("airflow", "dask", "dbos", "ray", "temporal")
# What the blocking client says once more is generated.
DUPLICATES = (
    "--disable=all",
    "--enable=duplicate-code",
    "--ignore-paths=lipsync_async/_sync/",
)

# What the demo needs, beside the package itself.
EXTRAS = ("sandbox", "progress")


def is_installed(version: str) -> bool:
    """Tell whether this machine has such a Python; of a version manager, a name may be all."""
    command = shutil.which(f"python{version}")
    if command is None:
        return False
    return not subprocess.run([command, "-c", ""], capture_output=True, check=False).returncode  # noqa: S603


SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
# Where none has a name of its own, the one that runs this is what there is.
PYTHONS = [version for version in SUPPORTED if is_installed(version)] or [
    "{}.{}".format(*sys.version_info)
]

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


def lowest(python: str) -> list[str]:
    """Return the lowest versions that `pyproject.toml` allows on a Python, as pins."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]
    wanted = [Requirement(line) for line in lines]
    return [
        f"{each.name}=={bound.version}"
        for each in wanted
        if each.marker is None or each.marker.evaluate({"python_version": python})
        for bound in each.specifier
        if bound.operator == ">="
    ]


@nox.session
def demo(session: nox.Session) -> None:
    """Show the whole way from a picture and a voice to a video, on this machine."""
    install(session, extras=",".join(EXTRAS))
    # After Ctrl-C, time to tidy up before nox kills it.
    command = ("python", "-m", "lipsync_async", "demo", *session.posargs)
    session.run(*command, interrupt_timeout=10)


def run_tests(session: nox.Session, *runner: str) -> None:
    """Run the tests on all cores, or those that are named."""
    # One more than there are cores: some tests wait for other processes.
    workers = str((os.cpu_count() or 1) + 1)
    install(session, "test", extras="all,lips,redis,postgres")
    # Without a network, tests that need the models are skipped, but not where `CI` is set.
    wanted = [0] if os.environ.get("CI") else [0, 1]
    session.run("python", "-m", "lipsync_async", "sandbox", "models", success_codes=wanted)
    # Hundreds of processes are started: each would compile the whole package anew.
    session.env["PYTHONDONTWRITEBYTECODE"] = ""
    session.run(*runner, "pytest", "-n", workers, "--dist", "worksteal", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on all cores, or those that are named."""
    run_tests(session, "python", "-m")


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests, and write what they cover to `build/coverage`; all must cover each branch."""
    for earlier in Path().glob(".coverage*"):
        earlier.unlink()
    run_tests(session, "coverage", "run", "-m")
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "html", "--directory", "build/coverage", "--fail-under", "0")
    if not session.posargs:
        # Without Redis or PostgreSQL, tests that need them are skipped, but not where `CI` is set.
        omitted = str(session.run("python", "-m", "tests.servers", silent=True)).strip()
        session.run("coverage", "report", *([f"--omit={omitted}"] if omitted else []))


@nox.session(python=PYTHONS)
@nox.parametrize("versions", ["lowest", "highest"])
def bounds(session: nox.Session, versions: str) -> None:
    """Run the demo, and tests that are named, on each Python with the oldest and newest of all.

    The versions that were there are left in `build/bounds/`.
    """
    pins = lowest(str(session.python))
    wanted = pins if versions == "lowest" else ["--upgrade", "--upgrade-strategy", "eager"]
    session.install("--editable", f".[{','.join(EXTRAS)}]", *wanted)
    session.run("python", "-m", "lipsync_async", "demo", "--output", session.create_tmp())
    if session.posargs:
        project = nox.project.load_toml("pyproject.toml")
        session.install(*nox.project.dependency_groups(project, "test"), *wanted)
        # AnyIO's older plugin for pytest uses a name that pytest is about to remove.
        quiet = ("-W", "ignore:_pytest.python.CallSpec2 has been renamed")
        session.run("python", "-m", "pytest", "-n", "auto", *quiet, *session.posargs)
    names = {pin.partition("==")[0] for pin in pins}
    frozen = str(session.run("python", "-m", "pip", "freeze", silent=True)).splitlines()
    used = [line for line in frozen if line.partition("==")[0].lower() in names]
    report = Path("build", "bounds", f"{session.python}-{versions}.txt")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("".join(f"{line}\n" for line in used))
    session.log(f"The demo ran on Python {session.python} with {', '.join(used)}.")


@nox.session
def field(session: nox.Session) -> None:
    """Run each script of a folder by itself: `nox -s field -- FOLDER [--except NAME ...]`."""
    install(session, "field")
    session.run("python", "-m", "lipsync_async._tools.field", *session.posargs)


@nox.session
def check(session: nox.Session) -> None:
    """Judge style, layers, duplicates, types and generated files; change nothing."""
    install(session, "lint", "typing", "test", "bench")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports", "--no-cache")
    session.run("pylint", *DUPLICATES, "lipsync_async")
    session.run("mypy", *CODE)
    session.run("pyright", "--verifytypes", "lipsync_async", "--ignoreexternal")
    generate(session, "--check")


@nox.session
def fix(session: nox.Session) -> None:
    """Format, fix what can be fixed, and regenerate."""
    install(session, "lint")
    session.run("ruff", "check", "--fix", ".", success_codes=[0, 1])
    session.run("ruff", "format", ".")
    generate(session)


@nox.session
def regenerate(session: nox.Session) -> None:
    """Bring every generated file up to date."""
    install(session, "lint")
    generate(session)


@nox.session
def typing(session: nox.Session) -> None:
    """Let two type checkers see the package as users' code does."""
    install(session, "typing")
    session.run("mypy", SAMPLES)
    session.run("pyright", SAMPLES)


def install_node_peer(session: nox.Session) -> Path | None:
    """Install the TypeScript client as it is locked; without it, fail only where `CI` is set."""
    source, folder = Path("tests/peer/typescript"), Path(session.create_tmp(), "node").resolve()
    modules, lock = folder / "node_modules", folder / "package-lock.json"
    done = modules / ".package-lock.json"  # npm writes it last
    wanted = (source / lock.name).read_text()
    npm = shutil.which("npm") if shutil.which("node") else None
    if npm and not (done.exists() and lock.read_text() == wanted):
        folder.mkdir(exist_ok=True)
        shutil.rmtree(modules, ignore_errors=True)
        shutil.copy(source / "package.json", folder)
        lock.write_text(wanted)
        command = (
            npm,
            "ci",
            "--prefix",
            str(folder),
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        )
        session.run(*command, external=True, success_codes=range(256))
    if done.exists():
        return modules
    problem = "The TypeScript client cannot be installed; that needs node, npm and a registry."
    if os.environ.get("CI"):
        session.error(problem)
    session.warn(f"{problem} Its tests are skipped.")
    return None


@nox.session
def peer(session: nox.Session) -> None:
    """Let the service's official clients, for Python and for TypeScript, talk to the sandbox."""
    install(session, "test", "peer")
    modules = install_node_peer(session)
    if modules is not None:
        session.env["PEER_NODE_MODULES"] = str(modules)
    session.run("pytest", "-rs", "tests/peer", *session.posargs)


@nox.session
def processes(session: nox.Session) -> None:
    """Let several real processes share one account, beside real servers, and kill some."""
    install(session, "test", extras="all,redis,postgres")
    session.run("pytest", "-o", "faulthandler_timeout=300", "tests/processes", *session.posargs)


@nox.session
@nox.parametrize("engine", [*ENGINES, "many_processes"])
def engines(session: nox.Session, engine: str) -> None:
    """Run the recipe of each engine in its own environment, and many processes for minutes."""
    install(session, engine if engine in ENGINES else "engines", extras="redis,postgres")
    patient = ("pytest", "-rs", "-o", "faulthandler_timeout=1800")
    session.run(*patient, f"tests/engines/test_{engine}.py", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Let runs suffer for many minutes: 100,000 jobs, hundreds of kills, and drawn examples."""
    install(session, "test", "bench")
    session.run("python", "-m", "benchmarks.hundred_thousand")
    patient = ("pytest", "-o", "faulthandler_timeout=3600")
    session.run(*patient, "tests/soak", *session.posargs)
    drawn = ("--hypothesis-profile=anew", "-n", "auto")
    session.run(*patient, *drawn, "tests/logic", "tests/bulk/test_accounts.py", "tests/sandbox")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure, beside the official client."""
    install(session, "test", "bench", extras="all,lips,redis,postgres")
    session.run("python", "-m", "lipsync_async", "sandbox", "models")
    session.run("pytest", "-o", "faulthandler_timeout=900", "benchmarks", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build guides and API reference into `build/docs`; any warning is an error."""
    project = nox.project.load_toml("pyproject.toml")
    session.install(*nox.project.dependency_groups(project, "docs"))
    # It warns of the next major version of mkdocs, which is kept out.
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel into `dist/`, and try the wheel away from the checkout."""
    session.install("build")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")
    (wheel,) = Path("dist").resolve().glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    unwanted = [name for name in names if name.startswith(NOT_SHIPPED)]
    missing = [part for part in SHIPPED if not any(name.startswith(part) for name in names)]
    if unwanted or missing:
        session.error(f"the wheel has too much: {unwanted}, or too little: {missing}")
    session.install("--force-reinstall", str(wheel))
    session.chdir(session.create_tmp())
    session.run("python", "-m", "lipsync_async", "--help")

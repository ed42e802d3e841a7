import re
from pathlib import Path

import pytest

from lipsync_async._tools.field import is_named, main, run, scripts

LIMIT = 60.0


def write(folder: Path, **sources: str) -> None:
    """Write scripts, each under its name."""
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the printed lines, with no seconds in them."""
    printed = capsys.readouterr().out
    return [" ".join(re.sub(r"[\d.]+ s\b", "", line).split()) for line in printed.splitlines()]


def test_each_script_has_a_line_and_one_failure_is_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status and seconds are shown, and the end of what a failed one printed."""
    wrong = "import sys; print('seen'); sys.exit(3)"
    raising = "raise ValueError('seen, too')"
    write(tmp_path, a_right="print('unseen')", b_wrong=wrong, c_raising=raising)
    (tmp_path / "notes.txt").write_text("no script", encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    lines = shown(capsys)
    assert lines[:3] == ["exit 0 a_right", "exit 3 b_wrong", "| seen"]
    assert lines[-2:] == ["| ValueError: seen, too", "3 scripts, 2 failed"]


def test_what_may_fail_fails_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts are named by their numbers or their names; those that pass are shown, too."""
    write(tmp_path, **{"08_clip": "1/0", "09_mirror": "1/0", "10_x": "", "20_address": ""})
    assert main([str(tmp_path), "--except", "08", "09_mirror", "20_address.py"]) == 0
    assert shown(capsys) == [
        "exit 1 08_clip (may fail)",
        "exit 1 09_mirror (may fail)",
        "exit 0 10_x",
        "exit 0 20_address (may fail)",
        "4 scripts, 0 failed",
    ]


def test_a_script_that_goes_on_is_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit on its time fails a script that would never end."""
    write(tmp_path, endless="import threading; threading.Event().wait()")
    assert main([str(tmp_path / "endless.py"), "--limit", "0.2"]) == 1
    assert shown(capsys) == ["time is up endless", "1 scripts, 1 failed"]


LEAVING = """
import pathlib, subprocess, sys
holding = "import fcntl, sys, threading; held = open(sys.argv[1]); fcntl.flock(held, 2);"
program = holding + "print(flush=True); threading.Event().wait()"
command = [sys.executable, "-c", program, str(pathlib.Path(__file__).with_name("held"))]
subprocess.Popen(command, stdout=subprocess.PIPE).stdout.readline()
"""


def test_what_a_script_leaves_running_ends_with_it(tmp_path: Path) -> None:
    """Servers of a script that has ended do not pile up."""
    fcntl = pytest.importorskip("fcntl")
    write(tmp_path, leaving=LEAVING)
    (tmp_path / "held").touch()
    assert run(tmp_path / "leaving.py", LIMIT).status == 0
    with (tmp_path / "held").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # waits until it is held no more


def test_a_script_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has an empty folder of its own, no key of the user's, and nothing to read."""
    monkeypatch.setenv("SYNC_API_KEY", "secret")
    monkeypatch.setenv("SYNC_BASE_URL", "https://api.sync.so")
    lonely = "import os, sys; print(os.listdir(), *[k for k in os.environ if 'SYNC_' in k])"
    write(tmp_path, lonely=f"{lonely}; print(repr(sys.stdin.read()))")
    ended = run(tmp_path / "lonely.py", LIMIT)
    assert (ended.status, ended.printed.split()) == (0, ["[]", "''"])


def test_scripts_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Files are taken as they are named; folders give theirs, sorted."""
    write(tmp_path, b="", a="", c="")
    last = tmp_path / "a.py"
    found = [path.name for path in scripts([tmp_path, last])]
    assert found == ["a.py", "b.py", "c.py", "a.py"]


NAMES = ["28", "28_picture", "28_picture_formats", "28_picture_formats.py", "08 28"]


@pytest.mark.parametrize("names", [*NAMES, "2", "28_pict", "formats", ""])
def test_a_name_means_its_own_scripts_only(names: str) -> None:
    """The number of one script is not the beginning of another's."""
    assert is_named(Path("cases/28_picture_formats.py"), names.split()) is (names in NAMES)


def test_a_folder_without_scripts_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing to run is not success."""
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path)])
    assert (caught.value.code, "there are no scripts" in capsys.readouterr().err) == (2, True)

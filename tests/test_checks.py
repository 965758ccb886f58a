"""The project's own checks, so that one command runs them all; the bound on each test; and the disk
that a run of the tests takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.skipping import not_here

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "check",
    [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)],
    ids=lambda check: " ".join(check),
)
def test_check(check: tuple[str, ...]) -> None:
    """The tree is as the check wants it."""
    done = subprocess.run([sys.executable, "-m", *check], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


HANGING = """
import threading
import pytest
import trio

def test_hanging_thread():
    threading.Event().wait()

async def test_hanging_task():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)

@pytest.fixture
def hanging():
    threading.Event().wait()

def test_hanging_fixture(hanging):
    pass

@pytest.mark.soak
def test_soak():
    threading.Event().wait(2)
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_hanging_test_is_ended_with_its_stacks(tmp_path: Path, workers: str) -> None:
    """A test that hangs fails and its stacks are printed; only a soak test may take longer."""
    done = _run_inside(tmp_path, {"test_it.py": HANGING}, workers, "-o", "faulthandler_timeout=1")
    assert "2 failed, 1 passed, 1 error" in done.stdout, done.stdout
    assert done.stdout.count("had not ended after 1 s") >= 3
    assert "in test_hanging_thread" in done.stderr


FOLDERS = """
import pytest

@pytest.fixture(scope="module")
def shared(new_folder):
    return new_folder("{name}-shared")

def test_{name}(shared, tmp_path):
    (shared / "file").touch()
    (tmp_path / "own").touch()
    assert {outcome}
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_folders_of_passed_tests_are_removed(tmp_path: Path, workers: str) -> None:
    """What failed tests wrote stays, to be looked at."""
    files = {
        f"test_{name}.py": FOLDERS.format(name=name, outcome=outcome)
        for name, outcome in [("good", True), ("bad", False)]
    }
    done = _run_inside(tmp_path, files, workers)
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    left = {path.name for path in (tmp_path / "base").rglob("*") if not path.is_symlink()}
    assert left - {"popen-gw0"} == {"test_bad0", "own", "bad-shared0", "file"}


def _run_inside(
    folder: Path, files: dict[str, str], workers: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run these tests by the settings and `conftest.py` of this suite."""
    (folder / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    for name, text in files.items():
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-n", workers]
    command += ["--rootdir", str(folder), "-m", "", *options, str(folder)]
    # Without it pytest-xdist removes the base folders of earlier runs, which may take a minute.
    command.append(f"--basetemp={folder / 'base'}")
    # Options of this run, such as its base folder, are not for the one inside it.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=100)


def test_temporary_files_of_ci_are_in_memory(tmp_path: Path) -> None:
    """They are on a file system of the run alone; what failed tests wrote is copied to the disk."""
    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"]).returncode:
        not_here("only root can mount")
    script = "set -euo pipefail\nrun=(" + (ROOT / ".ci/run").read_text().partition("\nrun=(")[2]
    command = 'cd "$TMPDIR/pytest-of-$(id -un)"; pwd; stat -f -c %T .; touch left; exit'
    for status in (0, 3):
        own = {"TMPDIR": str(tmp_path), "command": f"{command} {status}"}
        done = subprocess.run(
            ["bash", "-c", script], env={**os.environ, **own}, capture_output=True
        )
        folder, kind = done.stdout.decode().split()
        failed = Path(f"{folder}.failed")
        assert (kind, done.returncode) == ("tmpfs", status)
        assert not list(Path(folder).iterdir())
        assert failed.exists() == (status != 0)
    assert [path.name for path in failed.iterdir()] == ["left"]

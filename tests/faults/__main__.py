"""`python -m tests.faults`: injects every fault and prints what came of it.

Exits 1 where something did not hold. `--long` takes the long ones in, the soak among them.
"""

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.matrix import Recorder, Row, as_json, as_page, as_text

ROOT = Path(__file__).parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the matrix as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write it as a page, too")
    parser.add_argument("--long", action="store_true", help="also what takes minutes")
    parser.add_argument("-k", metavar="EXPRESSION", help="only these tests, as pytest takes it")
    asked = parser.parse_args()
    page = asked.html and asked.html.absolute()
    os.chdir(ROOT)
    recorder = Recorder()
    with_progress_on_stderr(lambda: pytest.main(arguments(asked.long, asked.k), [recorder]))
    rows = list(recorder.rows())
    print(as_json(rows) if asked.json else as_text(rows))
    broken = [row for row in rows if row.held == "no"]
    about = summary(rows, broken)
    print(about, file=sys.stderr)
    if page:
        page.write_text(as_page(rows, about), "utf-8")
    return 1 if broken or not rows else 0


def arguments(is_long: bool, expression: str | None) -> list[str]:
    """What pytest is told."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    tests = [str(file) for file in files if "\n@fault(" in file.read_text("utf-8")]
    return [
        *tests,
        "--tb=no",
        "-q",
        "--numprocesses=0",  # a fault is looked at alone, and the recorder sits in this process
        *(["-m", ""] if is_long else []),
        *(["-k", expression] if expression else []),
    ]


def with_progress_on_stderr(run: Callable[[], object]) -> None:
    """Runs with stdout turned to stderr: stdout is for the matrix."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        run()
        sys.stdout.flush()
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def summary(rows: list[Row], broken: list[Row]) -> str:
    """When, on what, how many."""
    held = sum(row.held == "yes" for row in rows)
    untried = len(rows) - held - len(broken)
    kernel, python = platform.release(), platform.python_version()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    return (
        f"{len(rows)} faults: {held} held, {len(broken)} did not, {untried} could not be tried. "
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, Linux {kernel}, "
        f"Python {python}, {os.cpu_count()} cores, "
        f"{'root' if os.geteuid() == 0 else 'an ordinary user'}."
    )


if __name__ == "__main__":
    sys.exit(main())

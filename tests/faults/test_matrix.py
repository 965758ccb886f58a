"""The matrix says what is there: no row without its test, no test without its row."""

import json
import re
from pathlib import Path

from tests.faults.matrix import Fault, Row, as_json, as_page, as_text, held

FOLDER = Path(__file__).parent


def test_every_fault_test_has_its_row() -> None:
    """Every test of this folder declares its fault beside it, except those of this file."""
    for file in FOLDER.glob("test_*.py"):
        if file != Path(__file__):
            source = file.read_text("utf-8")
            tests = re.findall(r"^def test_", source, re.MULTILINE)
            assert source.count("\n@fault(") == len(tests), file


def test_the_map_is_complete() -> None:
    """The map of the README names every file of this folder, and no other."""
    readme = (FOLDER / "README.md").read_text("utf-8")
    mapped = re.findall(r"^\| `([\w.]+)` \|", readme, re.MULTILINE)
    assert set(mapped) == {file.name for file in FOLDER.glob("*.py")}


def test_failed_case_fails_its_row() -> None:
    """A row holds only if no case of it failed, and was tried only if one was not skipped."""
    assert held(["passed", "failed", "skipped"]) == "no"
    assert held(["passed", "skipped"]) == "yes"
    assert held(["skipped", "skipped"]) == "not tried"


def test_text_json_and_page_agree() -> None:
    """Text, JSON and page have the same content, and the content of a fault is never markup."""
    rows = [Row(Fault("<b>", "in", "bound"), "test", "seen </td>", "no")]
    assert json.loads(as_json(rows))[0]["observed"] == "seen </td>"
    assert "observed: seen </td>" in as_text(rows)
    page = as_page(rows, "about")
    assert "&lt;b&gt;" in page
    assert "seen &lt;/td&gt;" in page

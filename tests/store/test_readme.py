"""The README says what the code does: tables, files and gotchas are held together here."""

import re
from pathlib import Path

import pytest

from store.lifecycles import BUILD, DEPLOYMENT, EXPERIMENT, Lifecycle

FOLDER = Path(__file__).parents[2] / "store"
README = (FOLDER / "README.md").read_text("utf-8")


def section(heading: str) -> str:
    (text,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return str(text)


def documented_moves(table: str) -> dict[str, dict[str, str]]:
    """Read `| state | event -> state, ... |` lines."""
    rows = re.findall(r"^\| `([a-z ]+)` \| (.*) \|$", table, re.MULTILINE)
    return {state: dict(re.findall(r"(\w+) -> `([a-z ]+)`", moves)) for state, moves in rows}


@pytest.mark.parametrize(
    "lifecycle", [BUILD, DEPLOYMENT, EXPERIMENT], ids=lambda lifecycle: lifecycle.noun
)
def test_the_state_tables(lifecycle: Lifecycle) -> None:
    """The README's table of a lifecycle is the code's table."""
    assert documented_moves(section(f"The life of an? {lifecycle.noun}")) == lifecycle.moves


def test_the_map_is_complete() -> None:
    """The map names every file of the folder, and no other."""
    mapped = set(re.findall(r"^\| `([\w/*.]+)` \|", section("Map"), re.MULTILINE))
    files = {file.name for file in FOLDER.glob("*.py")} - {"__init__.py"}
    assert mapped == files | {"migrations/*.sql"}


def test_gotchas_are_numbered_and_cited() -> None:
    """Gotchas are numbered from G1 without a gap, and each is cited by the code it concerns."""
    numbered = re.findall(r"^- \*\*(G\d+)\*\*", section("Gotchas"), re.MULTILINE)
    assert numbered == [f"G{n}" for n in range(1, len(numbered) + 1)]
    code = "\n".join(file.read_text("utf-8") for file in FOLDER.glob("*.py"))
    assert set(re.findall(r"gotcha (G\d+)", code)) == set(numbered)

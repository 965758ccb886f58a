"""The README says what the code does: tables, files and gotchas are held together here."""

import re
from pathlib import Path

import pytest

from store.lifecycles import BUILD, DEPLOYMENT, EXPERIMENT, RUNTIME, Lifecycle

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
    "lifecycle", [BUILD, DEPLOYMENT, EXPERIMENT, RUNTIME], ids=lambda lifecycle: lifecycle.noun
)
def test_readme_has_the_lifecycle_tables(lifecycle: Lifecycle) -> None:
    """The README's table of a lifecycle is the code's table."""
    assert documented_moves(section(f"The life of an? {lifecycle.noun}")) == lifecycle.moves

"""The README says what the code does: tables, files and gotchas are held together here."""

import re
from pathlib import Path

from workers.replica.lifecycle import TABLE

FOLDER = Path(__file__).parents[2] / "workers"
README = (FOLDER / "README.md").read_text("utf-8")


def section(heading: str) -> str:
    (text,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return str(text)


def test_the_state_table() -> None:
    """The README's table of a replica's life is the code's table."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section("The life of a replica"), re.MULTILINE)
    documented = {state: dict(re.findall(r"(\w+) -> `(\w+)`", moves)) for state, moves in rows}
    assert documented == {
        state.value: {event.value: after.value for event, after in moves.items()}
        for state, moves in TABLE.items()
    }


def test_the_map_is_complete() -> None:
    """The map names every file of the folder, and no other."""
    mapped = re.findall(r"^\| `([\w/.]+)` \|", section("Map"), re.MULTILINE)
    files = {str(file.relative_to(FOLDER)) for file in FOLDER.rglob("*.py")}
    files = {file for file in files if not file.endswith("__init__.py")}
    own = ("cgroups/", "confinement/", "inside/")
    assert set(mapped) == {file for file in files if not file.startswith(own)} | set(own)
    assert len(mapped) == len(set(mapped))


def test_gotchas_are_numbered_and_cited() -> None:
    """Gotchas are numbered from G1 without a gap, and each is cited by the code it concerns."""
    numbered = re.findall(r"^- \*\*(G\d+)\*\*", section("Gotchas"), re.MULTILINE)
    assert numbered == [f"G{n}" for n in range(1, len(numbered) + 1)]
    code = "\n".join(file.read_text("utf-8") for file in FOLDER.rglob("*.py"))
    assert set(re.findall(r"gotcha (G\d+)", code)) == set(numbered)

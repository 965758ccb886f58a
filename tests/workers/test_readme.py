"""The README says what the code does: tables, files and gotchas are held together here."""

import re
from pathlib import Path

from workers.replica.lifecycle import TABLE

FOLDER = Path(__file__).parents[2] / "workers/replica"
README = (FOLDER / "README.md").read_text("utf-8")


def section(heading: str) -> str:
    (text,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return str(text)


def test_readme_has_the_state_table_of_a_replica() -> None:
    """The README's table of a replica's life is the code's table."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section("The life of a replica"), re.MULTILINE)
    documented = {state: dict(re.findall(r"(\w+) -> `(\w+)`", moves)) for state, moves in rows}
    assert documented == {
        state.value: {event.value: after.value for event, after in moves.items()}
        for state, moves in TABLE.items()
    }

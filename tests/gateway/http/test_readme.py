"""The README's table of states is the code's."""

import re
from pathlib import Path

from gateway.http.connection_state import TRANSITIONS

README = Path(__file__).parents[3] / "gateway/http/README.md"


def test_state_table_is_the_code() -> None:
    """Each state is in the README with exactly the states that it may become."""
    table = README.read_text().partition("\n## The states of a model connection\n")[2]
    rows = re.findall(r"^\| `([A-Z]+)` \| (.+) \|$", table.partition("\n## ")[0], re.MULTILINE)
    documented = {state: set(re.findall(r"`([A-Z]+)`", moves)) for state, moves in rows}
    assert documented == {
        before.name: {after.name for after in moves} for before, moves in TRANSITIONS.items()
    }

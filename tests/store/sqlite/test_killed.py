"""`kill -9` of a writing process, with a ledger of what it had acknowledged kept outside of it."""

import random
import subprocess
import sys
from pathlib import Path

import trio

from store import lock_data_folder, open_database, projects
from tests.faults.matrix import fault

ROUNDS = 5
WRITER = [sys.executable, "-m", "tests.store.sqlite.ledger_writer"]


async def acknowledged_until_killed(folder: Path, name: str, acknowledgements: int) -> list[str]:
    """Start a writer, kill it after so many acknowledgements, return all that it gave."""
    writer = await trio.lowlevel.open_process(
        [*WRITER, str(folder), name], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert writer.stdout is not None
    said = b""
    async with writer.stdout:
        async for chunk in writer.stdout:
            said += chunk
            if said.count(b"\n") >= acknowledgements:
                writer.kill()
    await writer.wait()
    return said.decode().split("\n")[:-1]


@fault(
    "kill -9 of a writer",
    injection="in the midst of commits",
    bound="no acknowledged row is lost",
)
async def test_no_acknowledged_write_is_lost(tmp_path: Path) -> None:
    """What a process acknowledged before `kill -9` is there when the next one opens the folder."""
    ledger: list[str] = []
    with trio.fail_after(60):
        for round_number in range(ROUNDS):
            acknowledgements = random.randrange(1, 60)
            ledger += await acknowledged_until_killed(
                tmp_path, f"round {round_number}", acknowledgements
            )
    assert len(ledger) >= ROUNDS

    with lock_data_folder(tmp_path):
        async with open_database(tmp_path / "predictd.db") as database:
            stored = await database.read(projects.list_all)
            ((verdict,),) = await database.read(
                lambda connection: connection.execute_fetchall("PRAGMA integrity_check")
            )
    assert verdict == "ok"
    assert {*ledger} <= {project.name for project in stored}
    # Besides, at most the one write of each writer that was committed but not yet acknowledged.
    assert len(stored) - len(ledger) <= 3 * ROUNDS

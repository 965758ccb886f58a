"""Interpreters are sought in the background; who asks early waits for them."""

import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from builder.errors import InterpreterUnusable
from gateway.background import Tasks
from gateway.control.interpreters import Interpreters


async def test_who_asks_early_waits() -> None:
    interpreters = Interpreters(None)
    found: list[str] = []

    async def ask() -> None:
        found.extend(each.version for each in await interpreters.all() if each.default)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert not found
        interpreters.start_discovery(Tasks(nursery))
    assert found == ["{}.{}.{}".format(*sys.version_info)]


async def test_a_default_that_vanished(tmp_path: Path) -> None:
    """The error is raised for each caller that needs the interpreters, without waiting."""
    interpreters = Interpreters(tmp_path / "python3")
    async with trio.open_nursery() as nursery:
        interpreters.start_discovery(Tasks(nursery))
        with pytest.raises(InterpreterUnusable, match="No such file"):
            await interpreters.all()

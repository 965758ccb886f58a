"""The check of a running gateway's machine: `predictd doctor` in a process of its own."""

import sys
from pathlib import Path

import pytest
import trio

from gateway.background import Tasks
from gateway.operations.machine_check import CheckState, MachineCheck

_FINDINGS = '[{"name":"git","state":"missing","found":"not found","advice":"Install git."}]'


async def checked(*command: str) -> CheckState:
    """The state after one check by a command."""
    async with trio.open_nursery() as nursery:
        check = MachineCheck(Path("/none"), Tasks(nursery), command)
        assert check.state.checking  # the first look begins the first check
        check.begin()
        while check.state.checking:  # noqa: ASYNC110 - clients look again and again
            await trio.sleep(0.01)
        return check.state


async def test_findings_are_those_of_the_command() -> None:
    """Also where the command says by its exit status that something is missing."""
    code = f'print(\'{{"ready":false,"findings":{_FINDINGS}}}\'); raise SystemExit(1)'
    state = await checked(sys.executable, "-c", code)
    assert [(each.name, each.state, each.advice) for each in state.findings] == [
        ("git", "missing", "Install git.")
    ]
    assert state.checked_at
    assert not state.problem


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ((sys.executable, "-c", "raise SystemExit('broken')"), "the check has failed: broken"),
        ((sys.executable, "-c", "raise SystemExit(3)"), "the check has failed: exit status 3"),
        (("/no/such/program",), "the check cannot be started: No such file or directory"),
    ],
)
async def test_failed_check_says_why(command: tuple[str, ...], problem: str) -> None:
    """A command that fails leaves no findings, and the reason."""
    state = await checked(*command)
    assert (state.findings, state.problem) == ([], problem)

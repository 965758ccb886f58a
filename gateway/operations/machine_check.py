"""The findings of `predictd doctor` for a gateway that runs, by its own command in a process of its
own: it starts every interpreter and tries every level of isolation, and none of that touches the
gateway.
"""

import logging
import sys
from pathlib import Path
from typing import Literal

import msgspec
import trio

from gateway.background import Tasks
from gateway.control.records import now

# Seconds for one check: it takes about two on an idle machine.
_TIME_LIMIT = 60.0
_LONGEST_ERROR = 500

logger = logging.getLogger(__name__)


class MachineFinding(msgspec.Struct, frozen=True):
    """The result of one check; `advice` is empty if there is no problem."""

    name: str
    state: Literal["ok", "warning", "missing"]
    found: str
    advice: str


class CheckState(msgspec.Struct, frozen=True, kw_only=True):
    """The last check. `problem` says why it has no findings; `checked_at` is "" before the first
    one has ended."""

    checking: bool
    checked_at: str = ""
    findings: list[MachineFinding] = []
    problem: str = ""


class _Document(msgspec.Struct):
    findings: list[MachineFinding]


class MachineCheck:
    """Checks the machine of this gateway, one check at a time."""

    def __init__(self, data: Path, tasks: Tasks, command: tuple[str, ...] = ()) -> None:
        """`command` is another one than that of this gateway, for tests."""
        own = (sys.executable, "-m", "gateway.cli", "doctor", "--json", "--data", str(data))
        self._command = command or own
        self._tasks = tasks
        self._state = CheckState(checking=False)

    @property
    def state(self) -> CheckState:
        """The last check. The first one begins with the first look at it."""
        if not self._state.checked_at:
            self.begin()
        return self._state

    def begin(self) -> None:
        """Begins a check, unless one is running."""
        if not self._state.checking:
            self._state = msgspec.structs.replace(self._state, checking=True)
            self._tasks.start(self._run)

    async def _run(self) -> None:
        findings, problem = list[MachineFinding](), ""
        try:
            with trio.fail_after(_TIME_LIMIT):
                done = await trio.run_process(
                    list(self._command), capture_stdout=True, capture_stderr=True, check=False
                )
            findings = msgspec.json.decode(done.stdout, type=_Document).findings
        except trio.TooSlowError:
            problem = f"the check took more than {_TIME_LIMIT:g} s"
        except msgspec.DecodeError:
            problem = done.stderr.decode(errors="replace").strip()[-_LONGEST_ERROR:]
            problem = f"the check has failed: {problem or f'exit status {done.returncode}'}"
        except OSError as error:
            problem = f"the check cannot be started: {error.strerror}"
        finally:
            self._state = CheckState(
                checking=False, checked_at=now(), findings=findings, problem=problem
            )
        if problem:
            logger.warning("machine_check.failed: %s", problem)

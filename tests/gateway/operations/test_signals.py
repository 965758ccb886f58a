"""What each signal means: the table, and that none that would end a process is left out."""

import re
import signal
from pathlib import Path

from gateway.operations.signals import ACTIONS, action_of

# By signal(7): these stop or continue a process, or nothing follows from them.
_HARMLESS = {
    *(signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT),
    *(signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
}
# A fault of the process itself, or the end at once that was asked for.
_FAULTS = {
    *(signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE),
    *(signal.SIGILL, signal.SIGTRAP, signal.SIGSYS),
}
# Python ignores them from its start.
_IGNORED = {signal.SIGPIPE, signal.SIGXFSZ}


def test_every_signal_has_a_meaning() -> None:
    """Each signal that would end the process is in the table, or in one of the lists of exceptions
    that the README names."""
    left = _HARMLESS | _FAULTS | _IGNORED
    assert {n for n in signal.valid_signals() if action_of(n) is None} == left
    readme = Path("gateway/operations/README.md").read_text("utf-8")
    for each in _FAULTS | _IGNORED:
        assert signal.Signals(each).name in readme


def test_the_table_is_the_readme_s() -> None:
    """The README's table says the same, in the same order."""
    readme = Path("gateway/operations/README.md").read_text("utf-8")
    section = readme.partition("## Signals and the end")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (SIG\w+) \| (.*) \|$", section, re.MULTILINE)
    assert rows == [(name, action.value) for name, action in ACTIONS.items()]

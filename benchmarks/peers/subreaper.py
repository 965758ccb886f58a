"""Runs a server and ends its whole process tree when the benchmark ends.

`python subreaper.py COMMAND...`, standard library only. Servers fork, call setsid and leave
orphans, so neither a pid nor a process group names what must end. This process is the subreaper of
the whole tree: an orphan below it becomes its child. It ends when the command ends, or when its own
stdin closes, also because the process at the other end was killed. It first sends SIGTERM to the
command; after a grace period it kills child after child until none is left.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

GRACE = 5.0
PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Returns the exit status of the command; 128 + n if signal n ended it."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1)
    arguments = sys.argv[1:]
    no_input = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    try:
        command = os.posix_spawnp(arguments[0], arguments, os.environ, file_actions=no_input)
    except OSError as error:
        print(f"{arguments[0]}: {error.strerror}", flush=True)
        return 127
    threading.Thread(target=_end_with_stdin, args=(command,), daemon=True).start()
    status = _reap_until(command)
    _kill_until_childless()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _end_with_stdin(command: int) -> None:
    while os.read(0, 1):
        pass
    os.kill(command, signal.SIGTERM)
    time.sleep(GRACE)
    for child in _children():
        os.kill(child, signal.SIGKILL)


def _reap_until(command: int) -> int:
    """The command's wait status; orphans that end before it are reaped in passing."""
    while True:
        pid, status = os.wait()
        if pid == command:
            return status


def _kill_until_childless() -> None:
    """Each killed child passes its children to this process, until none is left."""
    while True:
        for child in _children():
            os.kill(child, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def _children() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # ended meanwhile
            if int(after_name[1]) == os.getpid():
                yield int(entry.name)


if __name__ == "__main__":
    sys.exit(main())

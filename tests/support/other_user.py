"""Work done as another user, in a process of its own; only root can."""

import fcntl
import json
import os
from collections.abc import Callable


def run_as(uid: int, work: Callable[[], object]) -> object:
    """What `work` returns, done by another user; what it needs is imported already."""
    reading, low = os.pipe()
    # Out of the way of what other tests have told to happen to theirs in a process that is forked.
    writing = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 500)
    os.close(low)
    pid = os.fork()
    if pid == 0:
        try:
            if uid:
                become(uid)
            answer = json.dumps(work())
        except BaseException as error:
            answer = json.dumps(f"{type(error).__name__}: {error}")
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        answer = file.read()
    os.waitpid(pid, 0)
    return json.loads(answer)


def become(uid: int) -> None:
    """For the rest of this process."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)

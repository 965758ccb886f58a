"""The only file that uses the operating system's processes.

A *tree* is a process with all that it ever started. Its mark, `PREDICTD_TREE=<instance>/<tree>/` in
the environment, is inherited by every child, so the tree is found again in /proc even when a
grandchild has forked twice and leads a session of its own, which a process group would miss. The
*instance* is the id of the data folder: a process with the mark of an instance whose gateway has
ended is an orphan.

Laws: a process is made from a thread that lives as long as the gateway (gotcha G1 in README), dies
with the gateway (gotcha G2 in README), and inherits only the descriptors that it is given.
"""

import fcntl
import os
import resource
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import trio

from workers.allowance import OWN_TASKS
from workers.confinement import SHELL, Launch
from workers.confinement.levels import program
from workers.orphan_processes import disown, kill_orphans, make_child
from workers.process.usage import process_info
from workers.shortages import is_shortage

MARK = "PREDICTD_TREE"
# A larger exit status may mean that a signal ended the command.
_SIGNALLED = 128
# PIDFD_GET_INFO and PIDFD_INFO_EXIT of <linux/pidfd.h>, and the answer: which fields it has, and at
# its end the exit status as waitpid has it.
_GET_INFO, _INFO_EXIT = 0xC040FF0B, 1 << 3
_INFO = struct.Struct("Q52xi")
# PF_KTHREAD of <linux/sched.h>.
_KERNEL_THREAD = 0x00200000
# How long the end of a tree may be delayed by processes that have left any tree, in seconds.
_ORPHAN_TIMEOUT = 0.25
# How often the end is polled for where the kernel does not report it, in seconds.
_POLL_INTERVAL = 0.05
# The marks of the trees that have not been killed yet.
_trees: set[str] = set()
# Lines of /proc/<pid>/status. A process confined without namespaces has both and cannot lose them.
_CONFINED = (b"\nNoNewPrivs:\t1\n", b"\nSeccomp:\t2\n")


class Process:
    """A process that was started here; `pidfd` becomes readable when it has ended.

    Where it is `wrapped`, `pid` is the wrapper's, which ends with the command; see `know_command`.
    """

    def __init__(
        self, popen: subprocess.Popen[bytes], pidfd: int, *, wrapped: bool = False
    ) -> None:
        self._popen = popen
        self._wrapped = wrapped
        self.pid = popen.pid
        self.pidfd = pidfd
        self._command_pid = 0 if wrapped else popen.pid
        # Of the wrapped command, once it is known.
        self._command_pidfd = -1
        self._exact: int | None = None

    @property
    def command_pid(self) -> int:
        """The id, as we see it, of the command itself; `pid` until it is known."""
        return self._command_pid or self.pid

    def know_command(self) -> None:
        """Finds the command behind its wrapper. Call it after the command has sent a message, not
        before: gotcha G11 in README."""
        if not self._command_pid:
            with suppress(OSError, IndexError):  # ended meanwhile
                found = _command_of(self.pid)
                self._command_pidfd = os.pidfd_open(found)
                self._command_pid = found

    def resident(self) -> int:
        """The bytes of memory that it uses, without its children; 0 when it has ended."""
        found = process_info(self.command_pid)
        return found.resident if found else 0

    def has_ended(self) -> bool:
        """Whether it has, without waiting."""
        return bool(os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT))

    async def wait(self) -> None:
        """Returns when it has ended."""
        try:
            await trio.lowlevel.wait_readable(self.pidfd)
        except OSError:  # the kernel has no memory to watch one more
            while not self.has_ended():  # noqa: ASYNC110 - nothing could set an event
                await trio.sleep(_POLL_INTERVAL)

    def reap(self) -> int:
        """The exit status, negative for a signal. Call it once, after `wait` or a kill: it waits
        for the end."""
        os.close(self.pidfd)
        status = self._popen.wait()
        disown(self.pid)
        if self._command_pidfd >= 0:
            exact = _exit_status(self._command_pidfd)
            # Only if the wrapper reports the same: an orphan may be in the command's position.
            if exact is not None and status == (exact if exact >= 0 else _SIGNALLED - exact):
                self._exact = exact
            os.close(self._command_pidfd)
        return status if self._exact is None else self._exact

    def describe(self, status: int) -> str:
        """Its exit status in words: "exited with status 3", "was killed by SIGSEGV"."""
        if self._exact is None and self._is_either(status):
            return f"{describe_status(_SIGNALLED - status)}, or exited with status {status}"
        return describe_status(status)

    def _is_either(self, status: int) -> bool:
        """Whether the wrapper may report a signal, as a shell does: gotcha G9 in README."""
        return self._wrapped and _SIGNALLED < status < _SIGNALLED + signal.NSIG

    def kill(self) -> None:
        """SIGKILL to the process and its group. `kill_tree` finds processes that have left the
        group (gotcha G5 in README)."""
        with suppress(ProcessLookupError):  # it has ended, as the pidfd reports
            os.killpg(self.pid, signal.SIGKILL)

    def await_group(self, *, seconds: float = 5.0) -> None:
        """Returns when the orphans of its group have ended and are reaped, or after `seconds` (a
        process in an uninterruptible system call cannot be killed). Blocking; call it after `kill`
        and `reap`."""
        end = time.monotonic() + seconds
        with suppress(ChildProcessError):  # none is left
            while time.monotonic() < end:
                if not os.waitpid(-self.pid, os.WNOHANG)[0]:
                    time.sleep(0.001)


def spawn(
    launch: Launch,
    *,
    mark: str,
    stdout: int,
    stderr: int,
    pass_fds: Sequence[int] = (),
    enter: Sequence[Path] = (),
    file_size: int = 0,
) -> Process:
    """Starts a command in a session of its own, with its variables and the mark as its environment.

    Its stdin is empty. Through each of `enter` it first puts itself into a cgroup; no file may
    become larger than `file_size` bytes, 0 for no limit. Raises OSError where it cannot be started,
    ValueError for a variable that no process can have.

    No program that runs before the last stage reads a byte of the project: see `last_stage`.
    """
    # The thread has to live as long as the process (gotcha G1 in README). Those of fences do.
    assert threading.current_thread() is threading.main_thread()
    with ExitStack() as after:
        after.callback(launch.close)
        script = launch.command.open_script(MARK)
        after.callback(os.close, script)

        def make() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [*_dies_with_us(), *_limited(enter, file_size), *launch.chain, *SHELL],
                cwd="/",
                env={MARK: mark},
                stdin=script,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(*pass_fds, *launch.descriptors),
                start_new_session=True,
            )

        _trees.add(mark)
        try:
            popen = make_child(make if launch.fence is None else partial(launch.fence.run, make))
        except BaseException:
            _trees.discard(mark)
            raise
    try:
        # Not by its pid: gotcha G3 in README.
        return Process(popen, os.pidfd_open(popen.pid), wrapped=launch.wrapped)
    except OSError:  # no descriptors left: a process that cannot be watched must not run
        os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()
        disown(popen.pid)
        raise


def _dies_with_us() -> list[str]:
    """The wrapper that has the kernel kill the process when the gateway's main thread ends.

    A replica that computes does not notice that its pipe has closed (gotcha G2 in README).
    `preexec_fn` would do the same unsafely. Without setpriv only the pipe's end is left, and
    `doctor` reports it.
    """
    setpriv = program("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


# Arguments are given by position, so that none is read as shell code. 0 means the writer itself.
_LIMIT = (
    'ulimit -f "$1"; { echo 500 >/proc/self/oom_score_adj; } 2>/dev/null; shift; '
    # The first in bash, the second in dash and busybox.
    '{ ulimit -u "$1" || ulimit -p "$1"; } 2>/dev/null; shift; '
    'while [ "$1" != -- ]; do echo 0 >"$1" || exit 126; shift; done; shift; '
    'exec "$@"'
)


def _limited(enter: Sequence[Path], file_size: int) -> list[str]:
    """The wrapper that limits a process from its first moment.

    When memory runs out the kernel ends it before the gateway. Entering a cgroup may take a while
    (gotcha G10 in README).
    """
    # In blocks of 512 bytes.
    blocks = str(-(-file_size // 512)) if file_size else "unlimited"
    return ["/bin/sh", "-c", _LIMIT, "sh", blocks, _tasks_of_user(), *map(str, enter), "--"]


def _tasks_of_user() -> str:
    """RLIMIT_NPROC for processes that are started here. It counts all processes of a user, so a
    model that reaches this lower limit leaves threads and processes to the gateway."""
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return "unlimited" if most == resource.RLIM_INFINITY else str(max(1, most - OWN_TASKS))


def marked(prefix: str) -> list[int]:
    """The ids of all live processes whose mark begins with `prefix`.

    Lists again until it has looked at all of them, since a process may fork and end in between: a
    process that is not in a list was made after it, by one that is. Raises OSError in a shortage.
    """
    wanted = f"{MARK}={prefix}".encode()
    seen: set[str] = set()
    found = []
    while new := {name for name in os.listdir("/proc") if name.isdecimal()} - seen:
        seen |= new
        for pid in new:
            try:
                environment = _environment(pid)
            except OSError as error:
                if is_shortage(error):
                    raise
                continue  # it has ended, or is another user's, which cannot be killed
            if environment.startswith(wanted) or b"\0" + wanted in environment:
                found.append(int(pid))
    return found


def _environment(pid: str) -> bytes:
    """The environment that a process began with.

    In the middle of an exec it is empty, so an empty one is read again (gotcha G4 in README).
    """
    end = time.monotonic() + 1.0
    while True:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
        if environment or _has_no_environment(pid) or time.monotonic() > end:
            return environment
        time.sleep(0.0005)


def _has_left_tree(pid: int) -> bool:
    """Whether an orphan has left its tree: it is confined, so it belongs to a tree of ours, but its
    initial environment has no mark of a living tree, or cannot be read."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False  # it has ended
    if not all(each in status for each in _CONFINED):
        return False
    try:
        variables = _environment(str(pid)).split(b"\0")
    except OSError:
        return True
    marks = {f"{MARK}={mark}".encode() for mark in tuple(_trees)}
    return marks.isdisjoint(variables)


def _has_no_environment(pid: str) -> bool:
    """Whether a process has ended, is the kernel's, or began with an empty environment."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        # proc(5); its second field may contain blanks and brackets.
        fields = file.read().rpartition(b")")[2].split()
    state, flags, end_code, env_start, env_end = (fields[i] for i in (0, 6, 24, 47, 48))
    # An exec sets the end of the code last.
    is_loaded = int(end_code) > 0
    return (
        state in b"ZX" or bool(int(flags) & _KERNEL_THREAD) or (is_loaded and env_start == env_end)
    )


def kill_tree(prefix: str, *, seconds: float = 5.0) -> int:
    """Kills every process whose mark begins with `prefix`, and every orphan that has left its tree
    (gotcha G5 in README), and waits until none is left.

    Scans again until a scan finds none, since one may fork while another is killed. Blocking: call
    it in a thread. Returns how many were killed; gives up after `seconds` (a process in an
    uninterruptible system call cannot be killed).
    """
    killed: set[int] = set()
    begun = time.monotonic()
    _trees.difference_update([mark for mark in tuple(_trees) if mark.startswith(prefix)])
    while (pids := marked(prefix)) or kill_orphans(_has_left_tree):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            except ProcessLookupError:
                pass
        # Another tree may make orphans endlessly; they are killed at that tree's end.
        if time.monotonic() - begun > (seconds if pids else _ORPHAN_TIMEOUT):
            break
        time.sleep(0.002)
    return len(killed)


def describe_status(status: int) -> str:
    """An exit status in words: "exited with status 3", "was killed by SIGSEGV"."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _exit_status(pidfd: int) -> int | None:
    """The exit status of a process that another one has reaped, negative for a signal; None where
    the kernel (before Linux 6.15) does not report it."""
    try:
        answer = fcntl.ioctl(pidfd, _GET_INFO, _INFO.pack(_INFO_EXIT, 0))
    except OSError:
        return None
    known, status = _INFO.unpack(answer)
    return os.waitstatus_to_exitcode(status) if known & _INFO_EXIT else None


def _command_of(pid: int) -> int:
    """The process that bubblewrap, which is `pid`, wraps: the first child of process 1 of its
    namespace, which is bubblewrap's only child. Raises
    OSError, IndexError where there is none."""
    for _ in range(2):
        pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return pid


def pipe() -> tuple[int, int]:
    """A pipe as (read end, write end), not inheritable.

    A process of any user may open it by its path in /proc, as R opens the wire and programs open
    /dev/stderr. Only processes that have it, and those who may trace them, find it there.
    """
    ends = os.pipe2(os.O_CLOEXEC)
    os.fchmod(ends[0], 0o666)
    return ends

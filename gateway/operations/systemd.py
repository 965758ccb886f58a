"""The service manager that started the gateway, if one did: systemd, or whoever plays its part.

What passes between them is in the environment that it gave (sd_notify(3), sd_listen_fds(3)): a
socket to be told on, how often it wants to hear that all is well, and the listening socket that it
holds for us, which stays open while one gateway ends and the next one starts. Without a manager
nothing is told, and nothing else differs.
"""

import errno
import logging
import os
import socket
from collections.abc import Mapping

import msgspec
import trio

from gateway.settings import SettingsError

logger = logging.getLogger(__name__)

# The first descriptor that is handed over, by sd_listen_fds(3).
FIRST_DESCRIPTOR = 3
# How long it may take to be told; the gateway goes on without.
_PATIENCE = 1.0


class ServiceManager(msgspec.Struct, frozen=True, kw_only=True):
    """What it asks for, and what it gave.

    `notify` is the address of its socket, `watchdog` after how many seconds of silence it takes
    the gateway for dead, and `descriptor` the listening socket that it opened.
    """

    notify: str = ""
    watchdog: float | None = None
    descriptor: int | None = None

    async def notify_manager(self, **state: str | int) -> None:
        """Tells it, for example `tell(READY=1, STATUS="serves")`. What cannot be told is logged."""
        if not self.notify:
            return
        # "@" stands for the zero with which the name of an abstract socket begins.
        address = self.notify.replace("@", "\0", 1) if self.notify[0] == "@" else self.notify
        told = "\n".join(f"{name}={value}" for name, value in state.items())
        try:
            with (
                trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way,
                trio.fail_after(_PATIENCE),
            ):
                await way.connect(address)
                await way.send(told.encode())
        except (OSError, trio.TooSlowError) as error:
            logger.warning("the service manager could not be told %s: %r", list(state), error)

    def listener(self) -> socket.socket | None:
        """The listening socket that it opened, not inheritable; None where it opened none.

        Raises SettingsError for one that cannot be served on.
        """
        if self.descriptor is None:
            return None
        try:
            listener = socket.socket(fileno=self.descriptor)
        except OSError as error:
            raise _unusable(f"it is no open socket: {error.strerror}") from error
        if listener.family not in (socket.AF_INET, socket.AF_INET6):
            listener.detach()
            raise _unusable("it is no socket of IPv4 or IPv6")
        if not _listens(listener):
            listener.detach()
            raise _unusable("it is not one that listens for connections (ListenStream=)")
        listener.set_inheritable(False)
        listener.setblocking(False)
        return listener


def read_manager(environment: Mapping[str, str], pid: int | None = None) -> ServiceManager:
    """The manager that this environment tells of. Raises SettingsError.

    What is meant for another process than `pid` (by default this one), a parent that handed its
    environment on, does not count.
    """
    ours = str(os.getpid() if pid is None else pid)
    watchdog = descriptor = None
    if environment.get("WATCHDOG_PID", ours) == ours:
        watchdog = _number(environment, "WATCHDOG_USEC") / 1e6 or None
    if environment.get("LISTEN_PID") == ours and (count := _number(environment, "LISTEN_FDS")):
        if count > 1:
            raise _unusable(f"there are {count} of them: one ListenStream= is what can be served")
        descriptor = FIRST_DESCRIPTOR
    return ServiceManager(
        notify=environment.get("NOTIFY_SOCKET", ""), watchdog=watchdog, descriptor=descriptor
    )


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "0")
    if not value.isdecimal():
        raise SettingsError(f"the service manager sets {name} = {value!r}, which is no number")
    return int(value)


def _listens(listener: socket.socket) -> bool:
    try:
        return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return False
        raise


def _unusable(why: str) -> SettingsError:
    return SettingsError(f"the socket that the service manager handed over cannot be used: {why}")

"""The service manager that started the gateway, if there is one: systemd or a compatible one.

The environment describes it (sd_notify(3), sd_listen_fds(3)): a socket for notifications, the
time-out of its watchdog, and the listening socket, which stays open while one gateway ends and the
next one starts. Without a manager no notifications are sent, and all else is the same.
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

# The first descriptor that is passed, by sd_listen_fds(3).
FIRST_DESCRIPTOR = 3
# Seconds that a notification may take; the gateway continues without it.
_NOTIFY_TIMEOUT = 1.0


class ServiceManager(msgspec.Struct, frozen=True, kw_only=True):
    """`notify` is the address of its socket, `watchdog` its time-out in seconds, and `descriptor`
    the listening socket that it opened."""

    notify: str = ""
    watchdog: float | None = None
    descriptor: int | None = None

    async def notify_manager(self, **state: str | int) -> None:
        """Sends for example `READY=1`. A notification that cannot be sent is logged."""
        if not self.notify:
            return
        # "@" stands for the zero with which the name of an abstract socket begins.
        address = self.notify.replace("@", "\0", 1) if self.notify[0] == "@" else self.notify
        message = "\n".join(f"{name}={value}" for name, value in state.items())
        try:
            with (
                trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
                trio.fail_after(_NOTIFY_TIMEOUT),
            ):
                await client.connect(address)
                await client.send(message.encode())
        except (OSError, trio.TooSlowError) as error:
            logger.warning("service_manager.not_notified states=%s: %s", list(state), repr(error))

    def listener(self) -> socket.socket | None:
        """The listening socket that it opened, not inheritable; None if it opened none.

        Raises SettingsError for a socket that the gateway cannot listen on.
        """
        if self.descriptor is None:
            return None
        try:
            listener = socket.socket(fileno=self.descriptor)
        except OSError as error:
            raise _unusable(f"it is not an open socket: {error.strerror}") from error
        if listener.family not in (socket.AF_INET, socket.AF_INET6):
            listener.detach()
            raise _unusable("it is not a socket of IPv4 or IPv6")
        if not _listens(listener):
            listener.detach()
            raise _unusable("it does not listen for connections; use ListenStream=")
        listener.set_inheritable(False)
        listener.setblocking(False)
        return listener


def read_manager(environment: Mapping[str, str], pid: int | None = None) -> ServiceManager:
    """The manager that this environment describes. Raises SettingsError.

    Variables for another process than `pid` (by default this one) are ignored: a parent may have
    passed on its environment.
    """
    ours = str(os.getpid() if pid is None else pid)
    watchdog = descriptor = None
    if environment.get("WATCHDOG_PID", ours) == ours:
        watchdog = _number(environment, "WATCHDOG_USEC") / 1e6 or None
    if environment.get("LISTEN_PID") == ours and (count := _number(environment, "LISTEN_FDS")):
        if count > 1:
            raise _unusable(f"there are {count}; the unit needs exactly one ListenStream=")
        descriptor = FIRST_DESCRIPTOR
    return ServiceManager(
        notify=environment.get("NOTIFY_SOCKET", ""), watchdog=watchdog, descriptor=descriptor
    )


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "0")
    if not value.isdecimal():
        raise SettingsError(f"the service manager sets {name} = {value!r}, which is not a number")
    return int(value)


def _listens(listener: socket.socket) -> bool:
    try:
        return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return False
        raise


def _unusable(why: str) -> SettingsError:
    return SettingsError(f"cannot use the socket of the service manager: {why}")

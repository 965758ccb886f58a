"""The local user who owns the other end of a loopback connection, as the kernel reports it.

All local clients share one network. At the isolation level `users` each project has a user of its
own, so counting by user keeps one of them from taking all connections. The kernel answers by
netlink (sock_diag(7)), one socket at a time, in some 10 us. Otherwise the user is unknown.
"""

import ipaddress
import socket
import struct
from contextlib import suppress

_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST = 1
_HEADER = struct.Struct("=IHHII")
# Family, protocol, extensions, states; ports, addresses, interface, cookie (any).
_QUERY = struct.Struct("=BBBxI")
_SOCKET = struct.Struct("!HH16s16s")
_ANY_INTERFACE = bytes(4) + b"\xff" * 8
_ALL_STATES = 0xFFFFFFFF
# In the answer, after its header: four bytes, the socket, three numbers.
_USER = struct.Struct("=II")
_USER_AT = _HEADER.size + 4 + 48 + 12


class PeerUsers:
    """A netlink socket; `close` it."""

    def __init__(self) -> None:
        self._kernel: socket.socket | None = None
        with suppress(OSError):
            self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)
            self._kernel.setblocking(False)

    def close(self) -> None:
        if self._kernel is not None:
            self._kernel.close()

    def user_of(self, connection: socket.socket) -> int | None:
        """The uid of the client, or None if it is gone or the kernel does not answer."""
        if self._kernel is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        try:
            peer, own = connection.getpeername(), connection.getsockname()
            self._kernel.send(_query(connection.family, peer, own))
            answer = self._kernel.recv(4096)
        except OSError:
            return None
        if len(answer) < _USER_AT + _USER.size or _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
            return None
        user, inode = _USER.unpack_from(answer, _USER_AT)
        # For a socket that its process has closed, the kernel reports root.
        return int(user) if inode else None


def _query(family: int, peer: tuple[str, int], own: tuple[str, int]) -> bytes:
    """The query for the socket whose own address is `peer`."""
    source, target = (
        ipaddress.ip_address(each[0].partition("%")[0]).packed for each in (peer, own)
    )
    body = _QUERY.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES)
    body += _SOCKET.pack(peer[1], own[1], source.ljust(16, b"\0"), target.ljust(16, b"\0"))
    body += _ANY_INTERFACE
    return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, 0, 0) + body

"""The sockets that clients connect to.

Clients of `localhost` try ::1 before 127.0.0.1. If the gateway listened on one of them alone,
another program, such as a model, could listen on the other and receive the keys of clients. So the
gateway serves its port on both, and on all addresses of both protocols where it serves all of one.
It refuses a port of which another process has half.
"""

import errno
import socket
from collections.abc import Callable

_BACKLOG = 1024
# How often a port is chosen again that is free on one address and taken on the other.
_TRIES = 20
# The address that is served as well.
_BESIDE = {"127.0.0.1": "::1", "::1": "127.0.0.1", "0.0.0.0": "::"}
# There is no IPv6, or no such address: no process can listen there.
_NO_SUCH = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class PortTaken(OSError):
    """Another process listens on the port. The operator must act."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, not inheritable. Raises PortTaken, or OSError for a host not ours."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address[0] == "::":
            # Serves both protocols by itself; 0.0.0.0 may be taken by now.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):  # or a privileged port
            raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror}") from error
        raise
    listener.setblocking(False)
    return listener


def listen_on_both(
    host: str, port: int, *, listen_first: Callable[[str, int], socket.socket] = listen
) -> list[socket.socket]:
    """The listening sockets for this host: its own first, then the one beside it. With port 0 both
    have the same port. Raises as `listen`."""
    for _ in range(_TRIES):
        first = listen_first(host, port)
        try:
            return [first, *listen_beside(first)]
        except OSError:
            first.close()
            if port:
                raise
    raise PortTaken(f"cannot listen on {host}: no port is free there and on {_BESIDE[host]}")


def listen_beside(
    listener: socket.socket, *, listen: Callable[[str, int], socket.socket] | None = None
) -> list[socket.socket]:
    """The socket that has to listen beside this one. There is none without IPv6, or where this one
    serves both protocols already. Raises PortTaken."""
    host, port = listener.getsockname()[:2]
    if host not in _BESIDE:
        return []
    try:
        return [(listen or _listen_alone)(_BESIDE[host], port)]
    except OSError as error:
        if error.errno in _NO_SUCH:
            return []
        raise PortTaken(
            f"cannot listen on [{_BESIDE[host]}]:{port} beside {host}:{port}: {error.strerror}. "
            "Clients of `localhost` may connect to either. End the process that listens there, or "
            "choose another port"
        ) from error


def _listen_alone(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener

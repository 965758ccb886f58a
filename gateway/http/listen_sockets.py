"""The sockets that clients connect to.

Clients of `localhost` try ::1 before 127.0.0.1. Where the gateway listens on one of them,
another program, a model for one, could listen on the other and be sent their keys. So the gateway
serves its port on both, and on all addresses of both protocols where it serves all of one. A port
of which another process has half is refused.
"""

import errno
import socket

_BACKLOG = 1024
# Where a port that is free on one address is taken on the other.
_TRIES = 20
# Where else the port is to be served.
_BESIDE = {"127.0.0.1": "::1", "::1": "127.0.0.1", "0.0.0.0": "::"}
# There is no IPv6, or no such address of it: no process can listen there.
_NO_SUCH = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class PortTaken(OSError):
    """Another process listens there. The operator must act."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, not inheritable. Raises PortTaken, or OSError for a host not ours."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address[0] == "::":
            # By itself it is for both protocols; 0.0.0.0 may be taken by now.
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


def listen_on_both(host: str, port: int) -> list[socket.socket]:
    """The listening sockets for this host, which is the first one's, and what belongs to it. With
    port 0 they have the same port. Raises as `listen`."""
    for _ in range(_TRIES):
        first = listen(host, port)
        try:
            return [first, *listen_beside(first)]
        except OSError:
            first.close()
            if port:
                raise
    raise PortTaken(f"no port is free on {host} and beside it")


def listen_beside(listener: socket.socket) -> list[socket.socket]:
    """What else has to listen where this one does; nothing where there is no IPv6, or where it is
    for both protocols already. Raises PortTaken."""
    host, port = listener.getsockname()[:2]
    if host not in _BESIDE:
        return []
    try:
        return [_listen_alone(_BESIDE[host], port)]
    except OSError as error:
        if error.errno in _NO_SUCH:
            return []
        raise PortTaken(
            f"cannot listen on [{_BESIDE[host]}]:{port} beside {host}:{port}: {error.strerror}. "
            "Clients of `localhost` may go to either, so end what listens there, or choose another "
            "port"
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

"""Names that end in `.localhost` are this machine (RFC 6761), also where its resolver has none.

Clients of CDSW put `modelservice.` before the gateway's name, `localhost`. Without mounts there is
no /etc/hosts of ours in which that stands, and glibc alone does not know it. So what cannot be
resolved is asked for as `localhost`; all else is as it was. `_socket` is patched, and not `socket`,
which a project's file may be named and which takes 5 ms to import (gotcha G2).
"""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def know_localhost() -> None:
    """From now on such names are resolved in this process, for what goes through `getaddrinfo`."""
    _socket.getaddrinfo = _knowing(_socket.getaddrinfo)


def _knowing(resolve: Callable[..., Any]) -> Callable[..., Any]:
    def getaddrinfo(host: object, *more: Any, **named: Any) -> Any:
        try:
            return resolve(host, *more, **named)
        except _socket.gaierror:
            name = host.decode("latin-1") if isinstance(host, bytes) else host
            if not isinstance(name, str) or not name.lower().rstrip(".").endswith(".localhost"):
                raise
        return resolve("localhost", *more, **named)

    return getaddrinfo

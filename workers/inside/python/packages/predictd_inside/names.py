"""Names that end in `.localhost` are this machine (RFC 6761), also where its resolver has none.

Clients of CDSW put `modelservice.` before the gateway's name, `localhost`. Without mounts our
/etc/hosts, which has that name, is missing, and glibc alone does not resolve it. So such a name
that cannot be resolved is resolved as `localhost`; all else stays as it was. This patches
`_socket`, not `socket`: a project's file may have that name, and it takes 5 ms to import (gotcha
G2).
"""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def know_localhost() -> None:
    """From now on `getaddrinfo` resolves such names in this process."""
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

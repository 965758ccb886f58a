"""The protocols that the gateway does not speak are not even loaded.

Hypercorn imports HTTP/2, and Quart Hypercorn's server on asyncio, wherever anything of them is
imported. Neither is used here (hypercorn_connection.py speaks HTTP/1.1, on Trio); loading them
takes a tenth of the start, and what is not there cannot be reached.
"""

import sys
from types import ModuleType
from typing import Any

_NEVER = {"hypercorn.asyncio": "serve", "hypercorn.protocol.h2": "H2Protocol"}


def stub_unused_protocols() -> None:
    """Stands in for them from now on. Call it before anything imports Quart."""
    for name, what in _NEVER.items():
        module = ModuleType(name)
        setattr(module, what, _refuse)
        sys.modules.setdefault(name, module)


def _refuse(*_: Any, **__: Any) -> None:
    raise NotImplementedError("predictd speaks HTTP/1.1 only, on Trio")

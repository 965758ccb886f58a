"""Stubs for protocols that the gateway does not speak, so that they are not loaded.

Importing anything of Hypercorn loads HTTP/2, and importing Quart loads Hypercorn's asyncio server.
Neither is used here (connection.py speaks HTTP/1.1, on Trio). Loading them takes a tenth
of the start, and code that is not loaded cannot be attacked.
"""

import sys
from types import ModuleType
from typing import Any

_UNUSED = {"hypercorn.asyncio": "serve", "hypercorn.protocol.h2": "H2Protocol"}


def stub_unused_protocols() -> None:
    """Installs the stubs. Call it before anything imports Quart."""
    for name, what in _UNUSED.items():
        module = ModuleType(name)
        setattr(module, what, _refuse)
        sys.modules.setdefault(name, module)


def _refuse(*_: Any, **__: Any) -> None:
    raise NotImplementedError("predictd speaks HTTP/1.1 only, on Trio")

"""How to sign in to the server's APIs; and `cdsw`, for projects that use both libraries."""

from __future__ import annotations

from predictd_inside.sdk.calls import get_auth  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["get_auth"]


def _emulate_cdsw() -> ModuleType:
    """The module `cdsw`. CML's own projects call this first, where there may be no `cdsw`."""
    from importlib import import_module

    return import_module("cdsw")

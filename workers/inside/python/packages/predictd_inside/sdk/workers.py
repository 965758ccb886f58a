"""The functions for workers: processes that a session of the workbench starts beside its own.

predictd runs models and scripts, not clusters: a call of these functions raises an error.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_NONE = "predictd starts no workers beside a script; use multiprocessing or joblib instead"


def launch_workers(*args: Any, **kwargs: Any) -> NoReturn:
    """Not here: raises NotImplementedError."""
    raise NotImplementedError(f"launch_workers: {_NONE}")


def list_workers(*args: Any, **kwargs: Any) -> NoReturn:
    """Not here: raises NotImplementedError."""
    raise NotImplementedError(f"list_workers: {_NONE}")


def stop_workers(*args: Any, **kwargs: Any) -> NoReturn:
    """Not here: raises NotImplementedError."""
    raise NotImplementedError(f"stop_workers: {_NONE}")


def await_workers(*args: Any, **kwargs: Any) -> NoReturn:
    """Not here: raises NotImplementedError."""
    raise NotImplementedError(f"await_workers: {_NONE}")

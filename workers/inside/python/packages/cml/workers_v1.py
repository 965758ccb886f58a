"""Workers beside a session's own process: predictd has none, and each function says so."""

from predictd_inside.sdk.workers import (  # type: ignore[import-not-found]
    await_workers,
    launch_workers,
    list_workers,
    stop_workers,
)

__all__ = ["await_workers", "launch_workers", "list_workers", "stop_workers"]

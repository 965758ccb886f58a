"""The orchestration: how a build becomes a deployment becomes a pool. No HTTP and no SQL here.

`store`, `builder` and `workers` do not know each other; this package connects them.
"""

from gateway.control.control import Control

__all__ = ["Control"]

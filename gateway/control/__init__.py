"""The orchestration: how a build becomes a deployment becomes a pool. No HTTP and no SQL here.

The engines know nothing of each other; this package alone introduces them.
"""

from gateway.control.control import Control

__all__ = ["Control"]

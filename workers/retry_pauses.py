"""How long the workers wait between attempts, as data: one record for all of them."""

import msgspec


class RetryPauses(msgspec.Struct, frozen=True, kw_only=True):
    """All in seconds."""

    # Between two attempts at what must be done at the end of a process: doubled each time.
    retry_first: float = 0.05
    retry_most: float = 2.0
    # Between two failed starts of one replica: doubled each time.
    backoff_first: float = 0.25
    backoff_most: float = 30.0
    # The same where the machine was short of a resource, which may be free again at any time.
    shortage_backoff_most: float = 4.0
    # Between two checks of what the kernel does not limit.
    monitor_interval: float = 1.0
    # How long the pools may take to stop when the workers close.
    close: float = 3.0

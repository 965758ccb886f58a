"""What an operator sees of a pool: its state at one moment, and counts."""

import msgspec

# The status of a slot whose replica waits for a GPU, or that is vacant.
WAITING_FOR_GPU = "waiting for a GPU"


class SlotStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """One slot as it is now. Counts are since the pool was opened; `uptime` in seconds.

    `limits_met` counts the ends and time-outs of its replicas that were due to a limit.
    Of the `restart`s, `recycled` were due to recycle_after_requests or recycle_above_memory.
    `gpus` are the UUIDs of those that its replica holds.
    """

    name: str
    status: str
    pid: int | None
    uptime: float
    received: int
    processed: int
    success: int
    failure: int
    error: int
    restart: int
    recycled: int
    last_exit: str
    lost_lines: int
    limits_met: dict[str, int]
    gpus: list[str]


class PoolStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The pool as it is now. The last five count requests since it was opened.

    No replica got those in `queue_full`, `waited_too_long` (told that it is busy, both),
    `not_ready` and `abandoned`; one did get those that `timed_out`. `restarts_by` are the flows
    whose requests ended replicas, with how many; the hundred or so that did most.
    """

    slots: list[SlotStatistics]
    ready: int
    waiting: int
    queue_full: int
    waited_too_long: int
    not_ready: int
    abandoned: int
    timed_out: int
    restarts_by: dict[str, int]

    @property
    def busy(self) -> int:
        return self.queue_full + self.waited_too_long

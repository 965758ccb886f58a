"""Large requests and answers, parsed by replicas of the gateway's own, off the loop.

A decoder holds its thread, for up to 3 ns a byte: 5 MB of brackets would stall all other callers
for 15 ms. So a large request goes first to a replica of the gateway's, with the pipes, queue and
deadlines that models have, and then to its model. A large answer of a model goes to another
replica before it is sent. The pools open at first use; most models never need them.
"""

import sys
from pathlib import Path

import msgspec

from gateway.predictions.envelope import Envelope, InvalidEnvelope
from workers import (
    Answered,
    Busy,
    Checked,
    NotReady,
    Outcome,
    Pool,
    PoolSpec,
    ReplicaSpec,
    Ticket,
    Workers,
)

# Up to this size, no input takes longer than a millisecond to parse.
INLINE_LIMIT = 256 * 1024

_decode = msgspec.json.Decoder(list[int | str | None]).decode
_read_text = msgspec.json.Decoder(str).decode


class OffloadedParser:
    """Its pools. `log_folder` holds the output of their replicas. Bodies up to `inline_limit` are
    parsed on the loop."""

    def __init__(self, workers: Workers, log_folder: Path) -> None:
        self.inline_limit = INLINE_LIMIT
        self._workers = workers
        self._log_folder = log_folder
        self._pools: dict[str, Pool] = {}

    @property
    def pool(self) -> Pool:
        """Parses request bodies; `envelope_in` reads its outcomes."""
        return self._open("examine")

    def check_answer(self, body: bytes | bytearray, flow: str, checked: Checked) -> None:
        """Checks a model's answer; see `Check` in workers/replica/replica.py."""
        pool = self._open("check")
        pool.submit(Ticket(body, lambda ticket: checked(*_verdict(ticket.outcome)), flow))

    async def check_tracked(self, body: bytes | bytearray, flow: str) -> str:
        """What is wrong with the metrics that a model tracked of a prediction; "" for nothing."""
        outcome, wrong = _verdict(await self._open("check_tracked").predict(body, flow))
        return wrong or ("" if outcome is None else "it could not be read")

    def _open(self, function: str) -> Pool:
        if function not in self._pools:
            replica = ReplicaSpec(
                code=Path(__file__).parent,
                environment=Path(sys.prefix),
                prefix=Path(sys.base_prefix),
                file="envelope.py",
                function=function,
                raw=True,
            )
            spec = PoolSpec(
                name="examiner", replica=replica, log_folder=self._log_folder, start_tries=0
            )
            self._pools[function] = self._workers.open_pool(spec, ours=True)
        return self._pools[function]


def _verdict(outcome: Outcome | None) -> tuple[Outcome | None, str]:
    match outcome:
        case Answered():
            return None, _read_text(outcome.body)
        case Busy():
            return Busy("too many large answers are being checked", outcome.retry_after), ""
        case _:
            return NotReady("the answer was too large to be checked in time"), ""


def envelope_in(outcome: Outcome, body: bytes | bytearray) -> Envelope | Outcome:
    """The envelope of `body`, or the outcome if the pool did not read it. Raises
    InvalidEnvelope."""
    if not isinstance(outcome, Answered):
        return outcome
    match _decode(outcome.body):
        case [int(begin), int(end), key]:
            request = msgspec.Raw(memoryview(body)[begin:end])
            return Envelope(request, key if isinstance(key, str) else None)
        case [str(problem)]:
            raise InvalidEnvelope(problem)
        case answer:
            raise AssertionError(f"the offload pool answered {answer}")

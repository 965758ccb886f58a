"""What is large is examined by processes of our own, so that no other request waits for it.

A decoder holds the thread it runs in, for up to 3 ns a byte: 5 MB of brackets would stall all
other callers for 15 ms. So a request that is large goes first to a replica of ours, by the pipes,
the queue and the deadlines that models have, and then on to its model; and a large answer of a
model goes to another one before it goes out. The pools are opened when they are needed first; the
small requests and answers of most models never need them.
"""

import sys
from pathlib import Path

import msgspec

from gateway.predictions.envelope import Envelope, InvalidEnvelope
from workers import Answered, Busy, NotReady, Outcome, Pool, PoolSpec, ReplicaSpec, Ticket, Workers
from workers.replica.replica import Checked

# Up to this size no input takes longer than a millisecond to read.
INLINE_LIMIT = 256 * 1024

_decode = msgspec.json.Decoder(list[int | str | None]).decode
_read_text = msgspec.json.Decoder(str).decode


class OffloadedParser:
    """Reads what is large elsewhere. `log_folder` is for what its replicas print."""

    def __init__(self, workers: Workers, log_folder: Path) -> None:
        self._workers = workers
        self._log_folder = log_folder
        self._pools: dict[str, Pool] = {}

    @property
    def pool(self) -> Pool:
        """Takes bodies for requests; `envelope_in` understands the outcomes."""
        return self._open("examine")

    def check_answer(self, body: bytes | bytearray, flow: str, checked: Checked) -> None:
        """Has a model's answer looked at; see `Check` of workers/replica/replica.py."""
        pool = self._open("check")
        pool.submit(Ticket(body, lambda ticket: checked(*_verdict(ticket.outcome)), flow))

    async def check_tracked(self, body: bytes | bytearray, flow: str) -> str:
        """What is wrong with what a model tracked of a prediction; "" for nothing."""
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
    """The envelope of `body`, or the outcome if it was not examined. Raises NotAnEnvelope."""
    if not isinstance(outcome, Answered):
        return outcome
    match _decode(outcome.body):
        case [int(begin), int(end), key]:
            request = msgspec.Raw(memoryview(body)[begin:end])
            return Envelope(request, key if isinstance(key, str) else None)
        case [str(wrong)]:
            raise InvalidEnvelope(wrong)
        case answer:
            raise AssertionError(f"an examiner that says {answer}")

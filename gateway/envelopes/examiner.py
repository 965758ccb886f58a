"""Large requests are examined by a process of our own, so that nobody waits for their JSON.

A decoder holds the thread it runs in, for up to 5 ns a byte: 5 MB of brackets would stall all
other callers for 26 ms. So a request that is large goes first to a replica of ours, by the pipes,
the queue and the deadlines that models have, and then on to its model. The pool is opened when it
is needed first; the small requests of most models never need it.
"""

import sys
from pathlib import Path

import msgspec

from gateway.envelopes.reading import Envelope, NotAnEnvelope
from workers import Answered, Outcome, Pool, PoolSpec, ReplicaSpec, Workers

# Up to this size nobody can make the reading last more than about 4 ms.
LARGE = 768 * 1024

_decode = msgspec.json.Decoder(list[int | str | None]).decode


class Examiner:
    """Reads large requests elsewhere. `log_folder` is for what its replica prints."""

    def __init__(self, workers: Workers, log_folder: Path) -> None:
        self._workers = workers
        self._log_folder = log_folder
        self._pool: Pool | None = None

    @property
    def pool(self) -> Pool:
        """Takes bodies for requests; `envelope_in` understands the outcomes."""
        if self._pool is None:
            replica = ReplicaSpec(
                code=Path(__file__).parent,
                environment=Path(sys.prefix),
                prefix=Path(sys.base_prefix),
                file="reading.py",
                function="examine",
                raw=True,
            )
            spec = PoolSpec(
                name="examiner", replica=replica, log_folder=self._log_folder, start_tries=0
            )
            self._pool = self._workers.open_pool(spec)
        return self._pool


def envelope_in(outcome: Outcome, body: bytes) -> Envelope | Outcome:
    """The envelope of `body`, or the outcome if it was not examined. Raises NotAnEnvelope."""
    if not isinstance(outcome, Answered):
        return outcome
    match _decode(outcome.body):
        case [int(begin), int(end), key]:
            request = msgspec.Raw(memoryview(body)[begin:end])
            return Envelope(request, key if isinstance(key, str) else None)
        case [str(wrong)]:
            raise NotAnEnvelope(wrong)
        case answer:
            raise AssertionError(f"an examiner that says {answer}")

"""Versions of metric records, for readers that ask again and again: equal ones mean equal records.

A version has a number that grows with each change since the gateway started, and the rows and bytes
that the store counts, which deletions change. It is computed from what is in memory and from the
series that a reader has, so to ask for it costs nothing.
"""

import time
from collections.abc import Iterable, Sequence

from store import MetricSeries


class MetricVersions:
    def __init__(self) -> None:
        # So that versions of two runs of the gateway differ.
        self._first = self._last = time.time_ns() // 1000
        self._of: dict[str, int] = {}

    def changed(self, deployment_ids: Iterable[str]) -> None:
        """Records of these deployments were written."""
        self._last += 1
        self._of.update(dict.fromkeys(deployment_ids, self._last))

    def of(self, series: Sequence[MetricSeries]) -> str:
        last = max((self._of.get(each.deployment_id, 0) for each in series), default=0)
        rows = sum(each.row_count for each in series)
        size = sum(each.byte_count for each in series)
        return f"{max(last, self._first):x}-{rows:x}-{size:x}"

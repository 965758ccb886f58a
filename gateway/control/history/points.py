"""A point of a model's history: counts, histograms and gauges of a span of time, and how two merge.

A point is stored as JSON. Its histograms are sparse: pairs of a bucket and a count. Counts are
added. Of the gauges the worst is kept: the longest queue, the most memory, the fewest ready
replicas; of the use of CPU and GPUs the mean.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from gateway.predictions.traffic import ModelTraffic, middle_of

Histogram = dict[int, int]


class Point(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """`waiting` is the longest queue. All replicas use `cores` and `memory` (bytes), and the limits
    are theirs together, 0 for none; `samples` says how many measurements `cores` is the
    mean of. Without a sample there was no pool. Of their `gpus`, so many on average were
    busy, and `gpu_memory` bytes were used."""

    success: int = 0
    failures: dict[str, int] = {}
    latency: Histogram = {}
    wait: Histogram = {}
    waiting: int = 0
    samples: int = 0
    ready: int = 0
    replicas: int = 0
    cores: float = 0.0
    memory: int = 0
    cores_limit: float = 0.0
    memory_limit: int = 0
    gpus: int = 0
    gpus_busy: float = 0.0
    gpu_memory: int = 0
    gpu_memory_limit: int = 0

    @property
    def requests(self) -> int:
        return self.success + sum(self.failures.values())

    @property
    def is_empty(self) -> bool:
        return not self.samples and not self.requests


_decode = msgspec.json.Decoder(Point).decode


def read(data: str) -> Point:
    return _decode(data)


def text(point: Point) -> str:
    return msgspec.json.encode(point).decode()


def merge_texts(texts: Sequence[str]) -> str:
    """The merged point of stored ones, in their order."""
    return text(merge(map(_decode, texts)))


def merge(points: Iterable[Point]) -> Point:
    """The point of all of their time together."""
    merged = Point()
    failures, latency, wait = Counter[str](), Counter[int](), Counter[int]()
    for each in points:
        merged.success += each.success
        failures.update(each.failures)
        latency.update(each.latency)
        wait.update(each.wait)
        merged.waiting = max(merged.waiting, each.waiting)
        if each.samples:
            _merge_gauges(merged, each)
    merged.failures, merged.latency, merged.wait = dict(failures), dict(latency), dict(wait)
    return merged


def _merge_gauges(merged: Point, each: Point) -> None:
    merged.ready = min(merged.ready, each.ready) if merged.samples else each.ready
    samples = merged.samples + each.samples
    cores = (merged.cores * merged.samples + each.cores * each.samples) / samples
    busy = (merged.gpus_busy * merged.samples + each.gpus_busy * each.samples) / samples
    merged.gpus_busy = round(busy, 4)
    merged.cores, merged.samples = round(cores, 4), samples
    merged.gpus = max(merged.gpus, each.gpus)
    merged.gpu_memory = max(merged.gpu_memory, each.gpu_memory)
    merged.gpu_memory_limit = max(merged.gpu_memory_limit, each.gpu_memory_limit)
    merged.memory = max(merged.memory, each.memory)
    merged.replicas, merged.cores_limit = each.replicas, each.cores_limit
    merged.memory_limit = each.memory_limit


def taken_from(traffic: ModelTraffic) -> Point:
    """What the model's requests have counted since the last point; they count from 0 again."""
    point = counted(traffic)
    if point.requests:
        traffic.reset()
    return point


def counted(traffic: ModelTraffic) -> Point:
    """What the model's requests have counted since the last point."""
    if not traffic.success and not traffic.failures:
        return Point()
    return Point(
        success=traffic.success,
        failures=dict(traffic.failures),
        latency={bucket: n for bucket, n in enumerate(traffic.latency) if n},
        wait={bucket: n for bucket, n in enumerate(traffic.wait) if n},
    )


def percentiles(histogram: Histogram, shares: Sequence[float]) -> list[float | None]:
    """For each share, ascending, the seconds that this share of the values does not exceed, within
    5 %; None where there are no values."""
    total = sum(histogram.values())
    if not total:
        return [None] * len(shares)
    found: list[float | None] = []
    below = 0
    for bucket in sorted(histogram):
        below += histogram[bucket]
        while len(found) < len(shares) and below >= shares[len(found)] * total:
            found.append(float(f"{middle_of(bucket):.4g}"))
    return found

"""Parses what a replica sends about one prediction into a metric record, or refuses it.

A model may write anything to the wire. It is refused if it is not JSON of this form, has too many
keys, or has times that are no exact numbers in JSON.
"""

from typing import Annotated

import msgspec

from store import MetricRecord

# Of one prediction; a model is refused more where it tracks it (predictd_inside/tracking.py).
MOST_KEYS = 1000
# A model that writes to the wire by itself may say any number.
MOST_REFUSED = 10_000
# What every reader of JSON takes for a whole number; some 285,000 years.
LAST_MS = 2**53


class _Told(msgspec.Struct, frozen=True):
    """The body of a TRACKED frame."""

    uuid: str = msgspec.field(name="predictionUuid")
    start_ms: int = msgspec.field(name="startTimeStampMs")
    end_ms: int = msgspec.field(name="endTimeStampMs")
    metrics: msgspec.Raw
    # How many values it was refused to track.
    refused: int = 0


_read_told = msgspec.json.Decoder(_Told).decode
_Metrics = Annotated[dict[str, msgspec.Raw], msgspec.Meta(max_length=MOST_KEYS)]
_read_metrics = msgspec.json.Decoder(_Metrics).decode


def read(body: bytes | bytearray, *, examined: bool = False) -> tuple[MetricRecord, int] | None:
    """What was told, and how many values were refused; None: it is no measurement. `examined`: its
    metrics are known to be some."""
    try:
        told = _read_told(body)
        if not examined:
            _read_metrics(told.metrics)
        text, uuid = bytes(told.metrics).decode(), bytes.fromhex(told.uuid.replace("-", ""))
    except (ValueError, RecursionError):  # of msgspec, too
        return None
    in_time = 0 <= told.start_ms <= LAST_MS and 0 <= told.end_ms <= LAST_MS
    if len(uuid) != 16 or not in_time:
        return None
    row = MetricRecord(uuid=told.uuid, start_ms=told.start_ms, end_ms=told.end_ms, metrics=text)
    return row, min(max(0, told.refused), MOST_REFUSED)

"""What callers send around their payload, read without looking into it."""

from gateway.envelopes.examiner import LARGE, Examiner, envelope_in
from gateway.envelopes.reading import (
    Envelope,
    NotAnEnvelope,
    not_json,
    not_utf_8,
    read,
    without_mark,
)

__all__ = [
    "LARGE",
    "Envelope",
    "Examiner",
    "NotAnEnvelope",
    "envelope_in",
    "not_json",
    "not_utf_8",
    "read",
    "without_mark",
]

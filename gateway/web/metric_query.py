"""Which metrics a page shows, by its query: of which deployment, from when to when, beside what.

All links and forms of the Metrics pages keep these parameters, so a link shows what its sender saw.
Times of the form are UTC. A chart's zoom gives `start_ms` and `end_ms`, which win. A time up to now
begins at a multiple of its sixtieth: within one of these, an open page shows the same records.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

_MINUTE = 60_000
_DAY = 24 * 60 * _MINUTE
_STEPS = 60
TIMES = {
    "": ("all", 0),
    "15m": ("15 min", 15 * _MINUTE),
    "1h": ("1 hour", 60 * _MINUTE),
    "1d": ("1 day", _DAY),
    "7d": ("1 week", 7 * _DAY),
    "30d": ("30 days", 30 * _DAY),
    "custom": ("from … to …", 0),
}
_REFERENCES = {
    "": "none",
    "previous": "the time before, as long",
    "before": "all time before",
    "custom": "from … to …",
}
_FORM = "%Y-%m-%dT%H:%M:%S"
_LAST_MS = 2**53


class MetricQuery:
    """What the query of a page asks for; `crns` are those of the deployments, by id."""

    def __init__(
        self, query: Mapping[str, str], model_crn: str, crns: Mapping[str, str], now_ms: int
    ) -> None:
        self._query = query
        self._crns = crns
        self.errors: dict[str, str] = {}
        self.deployment = query.get("deployment", "")
        self.time = query.get("time", "")
        if self.time not in TIMES:
            self.time = ""
        self.value = query.get("value", "")
        self.typed = {
            name: query.get(name, "") for name in ("from", "to", "reference_from", "reference_to")
        }
        if self.deployment in crns:
            self.target = {"model_deployment_crn": crns[self.deployment]}
        else:
            self.deployment, self.target = "", {"model_crn": model_crn}
        self._start, self._end = self._window(now_ms)
        self.reference = query.get("reference", "")
        self.note = ""
        self.reference_window = self._reference()

    @property
    def window(self) -> dict[str, Any]:
        """The parameters of the API that name the records."""
        found: dict[str, Any] = dict(self.target)
        if self._start:
            found["start_timestamp_ms"] = self._start
        if self._end is not None:
            found["end_timestamp_ms"] = self._end
        return found

    @property
    def kept(self) -> dict[str, str]:
        """The parameters of a link to another of the pages."""
        named = {"deployment": self.deployment, "time": self.time, "reference": self.reference}
        if self.time == "custom":
            named |= {name: self.typed[name] for name in ("from", "to")}
        if self.reference == "custom":
            named |= {name: self.typed[name] for name in ("reference_from", "reference_to")}
        return {name: value for name, value in named.items() if value}

    def link(self, path: str = "", **changes: str) -> str:
        query = {name: value for name, value in {**self.kept, **changes}.items() if value}
        return f"{path}?{urlencode(query)}" if query or not path else path

    @property
    def time_options(self) -> list[tuple[str, str]]:
        return [(name, text) for name, (text, _) in TIMES.items()]

    def reference_options(self, deployments: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        named = [
            (each["id"], f"deployment {each['deployment_number']}, build {each['build_number']}")
            for each in deployments
            if each["id"] != self.deployment
        ]
        return [*_REFERENCES.items(), *named]

    def _window(self, now_ms: int) -> tuple[int, int | None]:
        zoom = [self._query.get(name, "") for name in ("start_ms", "end_ms")]
        if all(text.isascii() and text.isdecimal() and len(text) < 17 for text in zoom):
            start, end = (min(int(text), _LAST_MS) for text in zoom)
            self.time = "custom"
            self.typed |= {"from": _text_of(start), "to": _text_of(end)}
            return start, end
        if self.time == "custom":
            return self._moment("from") or 0, self._moment("to")
        _, length = TIMES[self.time]
        return (now_ms - now_ms % (length // _STEPS) - length, None) if length else (0, None)

    def _reference(self) -> dict[str, Any]:
        """The parameters of the API that name what to compare with."""
        if self.reference in self._crns:
            return {"reference_model_deployment_crn": self._crns[self.reference]}
        if self.reference == "custom":
            start, end = self._moment("reference_from"), self._moment("reference_to")
            if start is None and end is None:
                self.note = "Type from when to when the reference is."
                return {}
            return _bounds(start or 0, end)
        if self.reference not in _REFERENCES:
            self.reference = ""
        if not self.reference:
            return {}
        if not self._start:
            self.note = "Choose a time, to compare it with the time before it."
            return {}
        if self.reference == "before":
            return _bounds(0, self._start - 1)
        end = self._end if self._end is not None else self._start + TIMES[self.time][1]
        return _bounds(max(0, 2 * self._start - end - 1), self._start - 1)

    def _moment(self, name: str) -> int | None:
        text = self.typed[name]
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        except (ValueError, OverflowError):
            found = -1
        if found < 0:
            self.errors[name] = "this is not a time such as 2027-01-31T09:30"
            return None
        return int(found * 1000)


def moment_of(at_ms: int) -> str:
    """A time as the API writes it."""
    return f"{_text_of(at_ms)}Z"


def _bounds(start: int, end: int | None) -> dict[str, Any]:
    found = {"reference_start_timestamp_ms": start}
    return found if end is None else {**found, "reference_end_timestamp_ms": end}


def _text_of(at_ms: int) -> str:
    return datetime.fromtimestamp(min(at_ms / 1000, 2.5e11), UTC).strftime(_FORM)

"""The charts of a model's traffic, from the history that the API returns. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup

from gateway.web.chart_figure import AxisMark, Series
from gateway.web.chart_scales import number
from gateway.web.charts import line_chart, sparkline

Values = Sequence[float | None]
# More points than a chart may have are merged.
_MOST_POINTS = 180
_TONES = {"queue_full": "warn", "waited_too_long": "warn", "not_ready": "warn"}
_MIB = 1024 * 1024


def overview_charts(history: dict[str, Any]) -> list[tuple[str, str, Markup]]:
    """What a model's overview shows of its traffic: a label, the value of the whole window, and a
    small chart. Nothing of a model without traffic."""
    if not history["total"]["requests"]:
        return []
    series, total, step = history["series"], history["total"], history["step"]
    seconds = step * max(1, len(history["times"]))
    rates = [count / step for count in series["requests"]]
    found = [("Requests", number(total["requests"] / seconds, "/s"), rates, "/s")]
    for name in ("p50", "p95"):
        values = [None if each is None else 1000 * each for each in series[f"latency_{name}"]]
        whole = total[f"latency_{name}"]
        found.append((name, "-" if whole is None else number(1000 * whole, "ms"), values, "ms"))
    errors = [
        100 * (count - good) / count if count else None
        for count, good in zip(series["requests"], series["success"], strict=True)
    ]
    failed = total["requests"] - total["success"]
    share = number(100 * failed / total["requests"], "%") if total["requests"] else "-"
    found.append(("Errors", share, errors, "%"))
    return [(label, text, sparkline(label, line, unit=unit)) for label, text, line, unit in found]


def traffic_charts(history: dict[str, Any]) -> list[Markup]:
    """Requests by outcome, latency, queue, CPU, memory and GPUs over one time axis, with the
    deployments marked."""
    series, step = history["series"], history["step"]
    merged = -(-len(history["times"]) // _MOST_POINTS)
    x = [1000.0 * at for at in history["times"][::merged]]
    window = (x[0], 1000.0 * (history["times"][-1] + step)) if x else None
    marks = [
        AxisMark(
            1000 * datetime.fromisoformat(each["at"]).timestamp(), f"build {each['build_number']}"
        )
        for each in history["marks"]
        if each["event"] == "deployed"
    ]

    def counts(values: Values) -> list[float | None]:
        """Per second."""
        return _merged(values, merged, lambda group: sum(group) / (step * merged))

    def highest(values: Values, factor: float = 1) -> list[float | None]:
        return _merged(values, merged, lambda group: factor * max(group))

    def chart(title: str, lines: list[Series], unit: str, **more: Any) -> Markup:
        return line_chart(title, x, lines, unit=unit, time=True, marks=marks, window=window, **more)

    outcomes = [Series("success", counts(series["success"]), "good")]
    outcomes += [
        Series(code, counts(values), _TONES.get(code, "bad"))
        for code, values in series["failures"].items()
    ]
    latency = [Series(p, highest(series[f"latency_{p}"], 1000)) for p in ("p50", "p95", "p99")]
    wait = [Series("wait p95", highest(series["wait_p95"], 1000))]
    memory = [Series("memory", highest(series["memory_bytes"], 1 / _MIB))]
    cpu = [Series("CPU", highest(series["cpu_cores"]))]
    if any(series["cpu_limit"]):
        cpu.append(Series("limit", highest(series["cpu_limit"]), "quiet"))
    if any(series["memory_limit"]):
        memory.append(Series("limit", highest(series["memory_limit"], 1 / _MIB), "quiet"))
    charts = [
        chart("Requests per second", outcomes, "/s", stacked=True),
        chart("Latency", latency, "ms", log=True),
        chart("Longest queue", [Series("waiting", highest(series["waiting"]))], ""),
        chart("Time in the queue", wait, "ms"),
        chart("CPU", cpu, "cores"),
        chart("Memory", memory, "MiB"),
    ]
    if "gpus" in series:
        busy = [Series("busy", highest(series["gpus_busy"]))]
        busy.append(Series("all", highest(series["gpus"]), "quiet"))
        used = [Series("memory", highest(series["gpu_memory_bytes"], 1 / _MIB))]
        used.append(Series("limit", highest(series["gpu_memory_limit"], 1 / _MIB), "quiet"))
        charts += [chart("GPUs", busy, ""), chart("GPU memory", used, "MiB")]
    return charts


def _merged(values: Values, size: int, merge: Callable[[list[float]], float]) -> list[float | None]:
    """Groups of `size` values as one each; None where none of them was measured."""
    groups = (
        [value for value in values[at : at + size] if value is not None]
        for at in range(0, len(values), size)
    )
    return [merge(group) if group else None for group in groups]

"""The verb metrics: the tracked metrics of a model's predictions."""

import codecs
import json
from datetime import UTC, datetime

from gateway.cli.arguments import moment
from gateway.cli.command import Group, argument, command
from gateway.cli.context import Context
from gateway.cli.lookup import find_model, full_name
from gateway.cli.options import MODEL
from gateway.cli.terminal import table
from gateway.client import Json

_HEADINGS = ("STARTED (UTC)", "MS", "PREDICTION", "METRICS")


@command(
    "metrics",
    "show a model's tracked metrics",
    MODEL,
    argument(
        "--since",
        metavar="TIME",
        type=moment,
        default="1d",
        help="such as 2026-11-21, 2026-11-21T09:30 (UTC), or 90m, 24h, 7d ago (default 1d)",
    ),
    argument("--until", metavar="TIME", type=moment, help="as above (default: now)"),
    argument("--csv", action="store_true", help="as CSV, with one column for each metric"),
    examples=["predictd metrics predict --since 2h", "predictd metrics predict --csv"],
    group=Group.SERVE,
)
def metrics(context: Context) -> None:
    """The predictions that began in a window, oldest first, with their metrics."""
    arguments = context.arguments
    model = find_model(context, arguments.model)
    window: Json = {
        "model_crn": model["crn"],
        "start_timestamp_ms": arguments.since,
        "end_timestamp_ms": arguments.until,
    }
    if arguments.csv:
        _csv(context, window)
        return
    rows = context.client.listing("/metrics", **window)
    nothing = (
        f"{full_name(model)} tracked no prediction in this window. Extend it with --since. Only"
        " functions with `@cdsw.model_metrics` are tracked."
    )
    shown = [
        (
            _when(row["startTimeStampMs"]),
            row["endTimeStampMs"] - row["startTimeStampMs"],
            row["predictionUuid"] or "(aggregate)",
            json.dumps(row["metrics"], ensure_ascii=False),
        )
        for row in rows
    ]
    context.terminal.result({"metrics": rows}, table(_HEADINGS, shown) if rows else nothing)


def _csv(context: Context, window: Json) -> None:
    """The table as the gateway sends it, for another program."""
    text = codecs.getincrementaldecoder("utf-8")()
    line = ""
    for block in context.client.blocks("/metrics/export", **window, format="csv"):
        whole, newline, rest = text.decode(block).rpartition("\n")
        if newline:
            context.terminal.lines_for_programs(line + whole)
            line = ""
        line += rest


def _when(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{milliseconds % 1000:03}"

"""The verb that shows what a model told of its predictions: metrics."""

import codecs
import json
from datetime import UTC, datetime

from gateway.cli.context import Context
from gateway.cli.lookup import find_model, full_name
from gateway.cli.terminal import table
from gateway.client import Json

_HEADINGS = ("STARTED (UTC)", "MS", "PREDICTION", "METRICS")


def metrics(context: Context) -> None:
    """The predictions that began in a window, oldest first, with all that became known of them."""
    arguments = context.arguments
    model = find_model(context.client, arguments.model)
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
        f"{full_name(model)} told of no prediction then. Look back further with --since; models"
        " tell of those only whose function has `@cdsw.model_metrics`."
    )
    shown = [
        (
            _when(row["startTimeStampMs"]),
            row["endTimeStampMs"] - row["startTimeStampMs"],
            row["predictionUuid"] or "(of many)",
            json.dumps(row["metrics"], ensure_ascii=False),
        )
        for row in rows
    ]
    context.terminal.result({"metrics": rows}, table(_HEADINGS, shown) if rows else nothing)


def _csv(context: Context, window: Json) -> None:
    """As it comes, for another program."""
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

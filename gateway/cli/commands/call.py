"""The verb call: one prediction."""

import json

from gateway.cli.arguments import json_value
from gateway.cli.command import Group, argument, command
from gateway.cli.context import Context
from gateway.cli.lookup import find_model, full_name
from gateway.cli.options import MODEL, TIMEOUT
from gateway.client import ModelFailed
from gateway.suggested_command import suggested


@command(
    "call",
    "call a model and print its response",
    MODEL,
    argument("request", metavar="JSON", type=json_value, help="or @FILE, or - for stdin"),
    TIMEOUT,
    examples=[
        "predictd call predict '{\"petal_length\": 5.4}'",
        "predictd call iris/predict @request.json",
    ],
    group=Group.SERVE,
)
def call(context: Context) -> None:
    """Calls a model as any client would, and prints what its function returned, as JSON."""
    model = find_model(context, context.arguments.model)
    try:
        reply = context.client.call(model["access_key"], context.arguments.request)
    except ModelFailed as error:
        lines = suggested("logs", full_name(model), "--request", error.request_id)
        error.advice = f"{error.advice}: {lines}"
        raise
    context.terminal.result(reply, json.dumps(reply["response"], ensure_ascii=False))

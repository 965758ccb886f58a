"""The verb `predictd deployment ls`."""

from gateway.cli.command import command
from gateway.cli.context import Context
from gateway.cli.lookup import find_model, full_name, model_path
from gateway.cli.options import MODEL
from gateway.cli.terminal import table, when
from gateway.suggested_command import suggested


@command(
    "deployment ls",
    "list a model's deployments",
    MODEL,
    examples=["predictd deployment ls predict"],
)
def ls(context: Context) -> None:
    """A model's deployments, oldest first: which build served, when, and who deployed it."""
    model = find_model(context, context.arguments.model)
    deployments = context.client.listing(f"{model_path(model)}/deployments")
    rows = [
        (
            each["deployment_number"],
            each["build_number"],
            each["status"],
            each["replicas"],
            each["deployer"].get("username", ""),
            when(each["created_at"]),
            when(each["stopped_at"]),
            (each["failure"] or {}).get("summary", ""),
        )
        for each in deployments
    ]
    times = ("CREATED (UTC)", "STOPPED (UTC)")
    headings = ("DEPLOYMENT", "BUILD", "STATUS", "REPLICAS", "BY", *times, "REASON")
    none = f"No deployments. Create one with {suggested('model redeploy', full_name(model))}."
    context.terminal.result({"deployments": deployments}, table(headings, rows) if rows else none)

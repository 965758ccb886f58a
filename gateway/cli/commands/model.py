"""The verbs `predictd model ...`: redeploy, rebuild, restart, stop, rotate-key, rm."""

from gateway.cli.arguments import count, model_setting
from gateway.cli.command import argument, command
from gateway.cli.commands.build import like_the_last
from gateway.cli.commands.deploy import (
    deploy_build,
    deployment_options,
    served_line,
    start,
    watch_started,
)
from gateway.cli.commands.status import ACTIVE, current_deployment
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.lookup import deployment_path, find_build, find_model, full_name, model_path
from gateway.cli.options import BUILD_OPTIONS, DEPLOYMENT_OPTIONS, MODEL, WAIT, YES
from gateway.cli.terminal import plural
from gateway.cli.watch import detachable, end_if_detached, poll
from gateway.suggested_command import suggested


@command(
    "model redeploy",
    "deploy a build again, without downtime",
    MODEL,
    argument("--build", metavar="N", type=count, help="number of the build (default: the current)"),
    *DEPLOYMENT_OPTIONS,
    *WAIT,
    examples=[
        "predictd model redeploy predict --replicas 4",
        "predictd model redeploy predict --build 7",
    ],
)
def redeploy(context: Context) -> None:
    """The current build again, or another one."""
    model = find_model(context, context.arguments.model)
    number = context.arguments.build or model["current_build_number"] or None
    build = find_build(context.client, model, number)
    deploy_build(context, model, build, deployment_options(context, model))


@command(
    "model rebuild",
    "build the project as it is now, and serve it",
    MODEL,
    *BUILD_OPTIONS,
    *DEPLOYMENT_OPTIONS,
    *WAIT,
    examples=["predictd model rebuild predict --comment 'new data'"],
)
def rebuild(context: Context) -> None:
    """A build like the last one, of the project as it is now, which replaces the current one."""
    client = context.client
    model = find_model(context, context.arguments.model)
    options = deployment_options(context, model)
    asked = like_the_last(context, model, options)
    started = start(client, model["project"], model, asked, options)
    build, deployment = watch_started(context, *started)
    document = {"build": build, "deployment": deployment}
    context.terminal.result(document, served_line(model, deployment))


@command(
    "model restart",
    "restart all replicas, one after the other",
    MODEL,
    *WAIT,
    examples=["predictd model restart predict"],
)
def restart(context: Context) -> None:
    """A rolling restart; waits until all replicas are new ones."""
    model = find_model(context, context.arguments.model)
    name = full_name(model)
    deployment = current_deployment(context.client, model)
    if deployment is None or deployment["status"] not in ACTIVE:
        advice = f"deploy it with {suggested('model redeploy', name)}"
        raise CommandFailed(f"model {name!r} is not deployed", advice, Exit.REFUSED)
    deployment = context.client.post(f"{deployment_path(model, deployment)}:restart")
    what, look = f"the restart of {name!r}", suggested("status", name)
    end_if_detached(context, deployment, what, look)
    with detachable(context, what, look), context.terminal.spinner(f"restarting {name}"):
        path = f"{model_path(model)}/replicas"
        ended = next(each for each in poll(context.client, path) if not each["restarting"])
    if ended["restart_problem"]:
        message = f"restart of {name!r} failed: {ended['restart_problem']}"
        advice = f"the other replicas still serve; print the log with {suggested('logs', name)}"
        raise CommandFailed(message, advice, Exit.FAILED)
    replicas = plural(len(ended["replicas"]), "replica")
    context.terminal.result(deployment, f"Restarted {name}, {replicas}.")


@command(
    "model stop",
    "stop serving a model; its builds stay",
    MODEL,
    *WAIT,
    examples=["predictd model stop predict"],
)
def stop(context: Context) -> None:
    """Stops the current deployment and those that are starting."""
    model = find_model(context, context.arguments.model)
    name = full_name(model)
    stopping = context.client.post(f"{model_path(model)}:stop")["model_deployments"]
    advice = f"Serve it again with {suggested('model redeploy', name)}."
    if not stopping:
        context.terminal.result({"status": "stopped"}, f"{name} is not deployed. {advice}")
        return
    document = {"model_deployments": stopping}
    what, look = f"the stop of {name!r}", suggested("status", name)
    end_if_detached(context, document, what, look)
    with detachable(context, what, look), context.terminal.spinner(f"stopping {name}"):
        for each in stopping:
            path = deployment_path(model, each)
            deployment = next(d for d in poll(context.client, path) if d["status"] != "stopping")
    context.terminal.result(deployment, f"Stopped {name}. {advice}")


@command(
    "model set",
    "change a model's description, visibility, or what it keeps",
    MODEL,
    argument(
        "settings",
        metavar="NAME=VALUE",
        nargs="+",
        type=model_setting,
        help="description, visibility, request_log (on, off), keep_builds, keep_builds_days; "
        "`default` is the site's",
    ),
    examples=["predictd model set iris keep_builds=3 keep_builds_days=30"],
)
def set_(context: Context) -> None:
    """Changes fields of a model. Builds that it does not keep are deleted by the next gc."""
    model = find_model(context, context.arguments.model)
    changes = dict(context.arguments.settings)
    model = context.client.patch(model_path(model), changes)
    shown = ", ".join(f"{name}={_shown(model[name])}" for name in changes)
    context.terminal.result(model, f"Set {shown} of {full_name(model)}.")


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "default" if value == -1 else value


@command(
    "model rotate-key",
    "replace a model's access key",
    MODEL,
    YES,
    examples=["predictd model rotate-key predict"],
)
def rotate_key(context: Context) -> None:
    """A new access key for a model; the old one is invalid at once."""
    client = context.client
    model = find_model(context, context.arguments.model)
    context.confirm(f"Replace the access key of {full_name(model)}? All callers need the new one.")
    model = client.post(f"{model_path(model)}:regenerate_key")
    text = f"The access key of {full_name(model)} is now {model['access_key']}."
    context.terminal.result(model, text)


@command(
    "model rm",
    "delete a model with all its builds",
    MODEL,
    YES,
    examples=["predictd model rm predict"],
)
def rm(context: Context) -> None:
    """Deletes a model with all its builds and deployments."""
    model = find_model(context, context.arguments.model)
    name = full_name(model)
    context.confirm(f"Stop and delete {name} with all its builds?")
    with context.terminal.spinner(f"deleting {name}"):
        context.client.delete(model_path(model))
    context.terminal.result({"deleted": model["id"]}, f"Deleted {name}.")

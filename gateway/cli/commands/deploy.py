"""The verbs deploy and rollback, and what they share with `model redeploy` and `model rebuild`.

All of them add to a model's history and replace nothing: a model of the same name gets another
build, and the current deployment serves until the new one is ready. Sizes that are not given are
those of the current deployment. Environment variables are never inherited, as in CDSW.

The files of the current folder are uploaded first (`project_of_folder`). Then the server does the
work: one request creates the model, starts its build and the deployment that waits for it. A
refusal creates nothing, and what a check of the files finds refuses a new model. A build that
fails leaves the model with its log, and `deploy` again adds a build to it.
"""

import json
from argparse import ArgumentTypeError, Namespace
from copy import copy
from pathlib import Path

from gateway.cli.arguments import count as build_number
from gateway.cli.arguments import file_and_function
from gateway.cli.command import Group, argument, command
from gateway.cli.context import CommandFailed, Context, Detached, Exit
from gateway.cli.lookup import build_path, find_build, find_model, full_name, model_path
from gateway.cli.options import (
    BUILD_OPTIONS,
    DEPLOYMENT_OPTIONS,
    MODEL,
    NEW_SIZES,
    OF_PROJECT,
    SIZES,
    UPLOAD,
    VARIABLES,
    WAIT,
)
from gateway.cli.project_check import (
    check_files,
    look_before_upload,
    redeploy_on_changes,
    removed_if_refused,
)
from gateway.cli.project_of_folder import current_project
from gateway.cli.terminal import plural
from gateway.cli.watch import (
    cancel_started,
    check_built,
    detachable,
    end_if_detached,
    follow_build,
    wait_for_deployment,
)
from gateway.client import ApiError, Client, ClientError, Json
from gateway.suggested_command import suggested


@command(
    "deploy",
    "build a function and serve it",
    argument(
        "target",
        metavar="FILE:FUNCTION",
        nargs="*",
        help="or names of models in predictd.toml (default: all of them)",
    ),
    OF_PROJECT,
    UPLOAD,
    argument("--name", metavar="NAME", help="name of the model (default: the function's)"),
    argument(
        "--auth",
        action="store_true",
        default=None,
        help="require a Model API key (default for new models)",
    ),
    argument("--no-auth", dest="auth", action="store_false", help="require only the access key"),
    argument("--check", action="store_true", help="check the files, and build nothing"),
    argument("--watch", action="store_true", help="deploy again after each change of the files"),
    *BUILD_OPTIONS,
    *DEPLOYMENT_OPTIONS,
    *WAIT,
    examples=[
        "predictd deploy predict.py:predict",
        "predictd deploy",
    ],
    group=Group.SERVE,
)
def deploy(context: Context) -> None:
    """Builds functions, deploys them and shows how to call them. Each of several models is shown
    when it serves, with `--json` as a line of its own."""
    left = _chosen(context.arguments)
    _look(left)
    try:
        while left:
            context.arguments = left[0]
            try:
                shown = _deploy_one(context)
            except Detached as detached:
                shown = detached.document, detached.text
            context.terminal.result(*shown)
            del left[0]
    except (ClientError, CommandFailed, KeyboardInterrupt):
        if names := [each.name for each in left[1:]]:
            context.terminal.say(f"Not begun: {', '.join(map(repr, names))}.")
        raise
    if context.arguments.watch:
        redeploy_on_changes(context, lambda: _deploy_again(context))


def _chosen(arguments: Namespace) -> list[Namespace]:
    """The arguments of each model to deploy."""
    given = arguments.target
    if len(given) == 1 and ":" in given[0]:
        one = copy(arguments)
        try:
            one.target = file_and_function(given[0])
        except ArgumentTypeError as error:
            raise CommandFailed(str(error), "see `predictd help deploy`", Exit.USAGE) from None
        return [one]
    from gateway.cli.project_file import chosen_models

    chosen = chosen_models(arguments, Path.cwd())
    if len(chosen) > 1 and (arguments.watch or arguments.name):
        option = "--watch" if arguments.watch else "--name"
        raise CommandFailed(f"{option} is for one model", "name the model", Exit.USAGE)
    return chosen


def _deploy_one(context: Context) -> tuple[Json, str]:
    """What is shown of a model that was deployed, or only checked."""
    file, _ = context.arguments.target
    with removed_if_refused(context) as created:
        project, is_new = current_project(context, file, created)
        if context.arguments.check:
            return check_files(context, project)
        started = _start(context, project, is_new=is_new)
    return _shown(context, project, *_watch(context, *started))


def _look(models: list[Namespace]) -> None:
    """Looks at all models before the first one is uploaded and built."""
    look_before_upload(models, Exit.FAILED if models[0].check else Exit.REFUSED)


def _deploy_again(context: Context) -> None:
    _look([context.arguments])
    context.terminal.result(*_deploy_one(context))


def _start(context: Context, project: Json, *, is_new: bool) -> tuple[Json, Json, Json | None]:
    """Starts what the command line asks for; see `start`."""
    arguments, client = context.arguments, context.client
    file, function = arguments.target
    name = arguments.name or function.replace("_", "-")
    model = None if is_new else find_model_of(client, project, name)
    if model and not arguments.name:
        _refuse_takeover(client, model, file, function)
    if model and arguments.auth not in (None, model["auth_enabled"]):
        model = client.patch(model_path(model), {"auth_enabled": arguments.auth})
    deployment = deployment_options(context, model)
    asked = {
        "file_path": file,
        "function_name": function,
        "kernel": arguments.kernel or "",
        "comment": arguments.comment,
        "network": build_network(deployment),
        "example": arguments.example,
        "fresh": arguments.fresh,
    }
    if script := getattr(arguments, "build_script", None):
        asked["build_script_path"] = script
    authentication = arguments.auth is not False
    try:
        return start(client, project, model, asked, deployment, name=name, auth=authentication)
    except ApiError as error:
        if error.code != "name.taken" or find_model_of(client, project, name) is None:
            raise
    # Another deploy of this folder has created it meanwhile.
    return _start(context, project, is_new=False)


@command(
    "rollback",
    "serve the build that served before the current one again, or an older one",
    MODEL,
    argument("--to", metavar="N", type=build_number, help="number of the build"),
    VARIABLES,
    *WAIT,
    examples=["predictd rollback predict", "predictd rollback predict --to 7"],
    group=Group.SERVE,
)
def rollback(context: Context) -> None:
    """Deploys the previous build, or one that served before, with the sizes that it had."""
    client = context.client
    model = find_model(context, context.arguments.model)
    name, number = full_name(model), context.arguments.to
    previous = _previous_deployment(client, model, number)
    if number and number == model["current_build_number"]:
        raise CommandFailed(f"build {number} of {name!r} serves already", "", Exit.REFUSED)
    if previous is None:
        if number:
            check_built(model, find_build(client, model, number))
        which = f"no build {number}" if number else "no other build"
        raise CommandFailed(
            f"model {name!r} has {which} that served before and still exists",
            f"list the builds with {suggested('build ls', name)}, then run "
            f"{suggested('model redeploy', name, '--build', number or 'N')}",
            Exit.REFUSED,
        )
    given = dict(context.arguments.env)
    if missing := sorted(json.loads(previous["environment"] or "{}").keys() - given.keys()):
        options = ("--build", previous["build_number"], "--env", "NAME=VALUE")
        context.terminal.say(
            f"Deployment {previous['deployment_number']} had the environment variables "
            f"{', '.join(missing)}. They are not inherited: set them with "
            f"{suggested('model redeploy', name, *options)}."
        )
    build = client.get(build_path(model, previous["build_id"]))
    sizes = {size: previous[size] for size in SIZES} | {"nvidia_gpus": previous["nvidia_gpu"]}
    deploy_build(context, model, build, {**sizes, "environment": given}, was=True)


def find_model_of(client: Client, project: Json, name: str) -> Json | None:
    """The project's model of that name."""
    models = client.listing(f"/projects/{project['id']}/models")
    return next((each for each in models if each["name"] == name), None)


def start(
    client: Client,
    project: Json,
    model: Json | None,
    build: Json,
    deployment: Json,
    *,
    name: str = "",
    auth: bool = True,
) -> tuple[Json, Json, Json | None]:
    """Starts a build and its deployment in one request, which also creates a missing model. Returns
    the model, its build, and its deployment, which is None if the build has failed."""
    asked = {**build, "auto_deploy_model": True, "auto_deployment_config": deployment}
    if model is None:
        new = {"name": name, "auth_enabled": auth, "auto_build_model": True}
        path = f"/projects/{project['id']}/models"
        model = client.post(path, {**new, "auto_build_config": asked})
        return model, model["model_build"], model["model_deployment"]
    made = client.post(f"{model_path(model)}/builds", asked)
    return model, made, made["model_deployment"]


def watch_started(
    context: Context, model: Json, build: Json, deployment: Json | None
) -> tuple[Json, Json]:
    """Watches what `start` started until it serves. Raises CommandFailed if it does not."""
    name, number = full_name(model), build["build_number"]
    context.terminal.say(f"Building {name}, build {number}.")
    if deployment is None:  # the snapshot has failed already
        check_built(model, build)
        raise AssertionError(f"build {number} has no deployment")
    what = f"build {number} of {name!r} with its deployment"
    started = {"model": model, "build": build, "deployment": deployment}
    end_if_detached(context, started, what, suggested("status", name))
    with detachable(
        context,
        what,
        suggested("status", name),
        suggested("build cancel", name, number),
        lambda: cancel_started(context, model, build, deployment),
    ):
        build = follow_build(context, model, build)
        return build, wait_for_deployment(context, model, deployment)


def _watch(
    context: Context, model: Json, build: Json, deployment: Json | None
) -> tuple[Json, Json, Json]:
    build, served = watch_started(context, model, build, deployment)
    return context.client.get(model_path(model)), build, served


def deploy_build(
    context: Context, model: Json, build: Json, options: Json, *, was: bool = False
) -> None:
    """Deploys a build that exists and waits until it serves. `was`: says which one it replaced."""
    check_built(model, build)
    path = f"{build_path(model, build['id'])}/deployments"
    deployment = context.client.post(path, options)
    name, number = full_name(model), deployment["deployment_number"]
    what = f"deployment {number} of {name!r}"
    end_if_detached(context, deployment, what, suggested("status", name))
    with detachable(
        context,
        what,
        suggested("status", name),
        cancel=lambda: cancel_started(context, model, build, deployment),
    ):
        deployment = wait_for_deployment(context, model, deployment)
    before = model["current_build_number"]
    replaced = f" It was build {before}." if was and before else ""
    context.terminal.result(deployment, f"{served_line(model, deployment)}{replaced}")


def deployment_options(context: Context, model: Json | None) -> Json:
    """The options given, else those of the current deployment, else those of new models."""
    current: Json = {}
    if model and model["current_deployment_id"]:
        listed = context.client.listing(f"{model_path(model)}/deployments")
        current = next(each for each in listed if each["id"] == model["current_deployment_id"])
    sizes = {
        size: getattr(context.arguments, size) or current.get(size) or NEW_SIZES.get(size)
        for size in SIZES
    }
    network = context.arguments.network or current.get("network", "machine")
    gpus = context.arguments.gpus
    sizes["nvidia_gpus"] = current.get("nvidia_gpu", 0) if gpus is None else gpus
    return {**sizes, "network": network, "environment": dict(context.arguments.env)}


def build_network(deployment: Json) -> str:
    """The network access of a build: that of its replicas, but never none, since it needs a
    package index."""
    return "machine" if deployment["network"] == "none" else str(deployment["network"])


def served_line(model: Json, deployment: Json) -> str:
    """What serves now, in one sentence."""
    return (
        f"{full_name(model)} serves build {deployment['build_number']} on "
        f"{plural(deployment['replicas'], 'replica')} "
        f"(deployment {deployment['deployment_number']})."
    )


def _refuse_takeover(client: Client, model: Json, file: str, function: str) -> None:
    """Refuses a name, taken from the function, that would replace a model of another function. A
    model without a successful build may be replaced."""
    builds = client.listing(f"{model_path(model)}/builds")
    builds = [each for each in builds if each["status"] not in ("build failed", "timedout")]
    if builds and (builds[-1]["file_path"], builds[-1]["function_name"]) != (file, function):
        existing = f"{builds[-1]['file_path']}:{builds[-1]['function_name']}"
        raise CommandFailed(
            f"model {full_name(model)!r} is {existing}, which {file}:{function} would replace",
            "name the new model with `--name`, or replace the old one with "
            f"{suggested('deploy', f'{file}:{function}', '--name', model['name'])}",
            Exit.REFUSED,
        )


def _previous_deployment(client: Client, model: Json, number: int | None) -> Json | None:
    """The last deployment of this build that served; without a number, of another build than the
    current deployment, before it. None if there is no such build any more."""
    listed = client.listing(f"{model_path(model)}/deployments")
    served = [each for each in listed if each["deployed_at"]]
    current = [each for each in served if each["id"] == model["current_deployment_id"]]
    current = current or served[-1:]
    for each in reversed(served):
        if not each["build_id"] or each["build_id"] == current[0]["build_id"]:
            continue
        older = each["deployment_number"] < current[0]["deployment_number"]
        if each["build_number"] == number or (number is None and older):
            return each
    return None


def _shown(
    context: Context, project: Json, model: Json, build: Json, deployment: Json
) -> tuple[Json, str]:
    outcome = {"project": project, "model": model, "build": build, "deployment": deployment}
    lines = [served_line(model, deployment)]
    if context.arguments.example is not None:
        answer = context.client.call(model["access_key"], context.arguments.example)["response"]
        outcome["answer"] = answer
        lines.append(f"It answers the example with {json.dumps(answer)}.")
    lines += ["Call it:", f"  {_curl(context.public_url(model['url']), model)}"]
    if model["auth_enabled"]:
        lines.append("Create a KEY with `predictd key create`.")
    return outcome, "\n".join(lines)


def _curl(url: str, model: Json) -> str:
    """A shell command that calls the model with its example. KEY stands for the caller's key."""
    from gateway.client.snippets import samples

    example = {} if model["example"] is None else model["example"]
    key = "KEY" if model["auth_enabled"] else ""
    return samples(f"{url}/model", model["access_key"], example, key).curl

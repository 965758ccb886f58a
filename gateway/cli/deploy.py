"""The verbs that make something new: deploy, build, rebuild, redeploy, rollback.

All of them add to a model's history and replace nothing of it: a model of the same name gets one
more build, and what serves goes on serving until the new deployment is ready. What is not said is
taken from the model's present deployment, except for environment variables, which CDSW never
inherits: a deployment has exactly those it was given.
"""

import json
from difflib import get_close_matches
from itertools import count
from pathlib import Path

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.lookup import find_build, find_model, find_project, full_name, model_path
from gateway.cli.watch import build_failed, detachable, follow_build, wait_for_deployment
from gateway.client import ApiError, Client, Json

# Memory is the gateway's to say, which knows the machine.
NEW = {"replicas": 2, "cpu": 1.0}
SIZES = (*NEW, "memory")


def deploy(context: Context) -> None:
    """`predictd deploy FILE:FUNCTION`: from the folder to an answering model."""
    arguments, client = context.arguments, context.client
    file, function = arguments.target
    project = current_project(context, file)
    name = arguments.name or function.replace("_", "-")
    if not arguments.name:
        _refuse_takeover(client, project, name, file, function)
    model, is_new = get_or_create_model(client, project, name, authentication=arguments.auth)
    wishes = _deployment_options(context, client, model)
    try:
        build = start_build(
            client,
            model,
            file=file,
            function=function,
            kernel=arguments.kernel,
            comment=arguments.comment,
            example=arguments.example,
            deployment=wishes,
            network=build_network(wishes),
        )
        deployment = {}
        if build["status"] != "build failed":  # its snapshot may have failed already
            deployment = start_deployment(client, model, build, wishes)
    except ApiError:
        if is_new:  # what was refused leaves no model without a build behind
            client.delete(model_path(model))
        raise
    name, number = full_name(model), build["build_number"]
    context.terminal.say(f"Building {name}, build {number}.")
    with detachable(f"Build {number} of {name}, and its deployment,", f"predictd status {name}"):
        build = follow_build(context, model, build)
        deployment = wait_for_deployment(context, model, build, deployment)
    _tell(context, project, model, build, deployment)


def _refuse_takeover(client: Client, project: Json, name: str, file: str, function: str) -> None:
    """A name that comes from the function must not take a model from another file's function; one
    of which no build succeeded is none's."""
    for model in client.listing(f"/projects/{project['id']}/models"):
        builds = client.listing(f"{model_path(model)}/builds") if model["name"] == name else []
        builds = [each for each in builds if each["status"] not in ("build failed", "timedout")]
        if builds and (builds[-1]["file_path"], builds[-1]["function_name"]) != (file, function):
            theirs = f"{builds[-1]['file_path']}:{builds[-1]['function_name']}"
            raise CommandFailed(
                f"The model {full_name(model)} is {theirs}; {file}:{function} would replace it.",
                f"Give the new one a name of its own with `--name`, or replace the other with "
                f"`--name {name}`.",
                Exit.REFUSED,
            )


def build(context: Context) -> None:
    """`predictd build MODEL`: a new build of the project as it is now; serves nothing yet."""
    arguments, client = context.arguments, context.client
    model = find_model(client, arguments.model)
    new = _build_again(context, model, file=arguments.file, function=arguments.function)
    name, number = full_name(model), new["build_number"]
    with detachable(f"Build {number} of {name}", f"predictd build-log {name} {number}"):
        new = follow_build(context, model, new)
    serve_it = f"Serve it with `predictd redeploy {name} --build {number}`."
    context.terminal.result(new, f"Build {number} of {name} is built. {serve_it}")


def rebuild(context: Context) -> None:
    """`predictd rebuild MODEL`: a new build of the project as it is now, served like the present
    one."""
    client = context.client
    model = find_model(client, context.arguments.model)
    wishes = _deployment_options(context, client, model)
    new = _build_again(context, model, deployment=wishes)
    if new["status"] == "build failed":
        raise build_failed(model, new)
    deployment = start_deployment(client, model, new, wishes)
    name = full_name(model)
    with detachable(f"Build {new['build_number']} of {name}", f"predictd status {name}"):
        new = follow_build(context, model, new)
        deployment = wait_for_deployment(context, model, new, deployment)
    context.terminal.result({"build": new, "deployment": deployment}, _deployed(model, deployment))


def redeploy(context: Context) -> None:
    """`predictd redeploy MODEL`: the present build again, or another one."""
    client = context.client
    model = find_model(client, context.arguments.model)
    number = context.arguments.build or model["current_build_number"] or None
    build = find_build(client, model, number)
    _deploy_again(context, model, build, _deployment_options(context, client, model))


def rollback(context: Context) -> None:
    """`predictd rollback MODEL`: the build that served before the present one, sized as then."""
    client = context.client
    model = find_model(client, context.arguments.model)
    name = full_name(model)
    earlier = _earlier_deployment(client, model)
    if earlier is None:
        raise CommandFailed(
            f"{name} has never served another build that still exists.",
            f"See `predictd builds {name}`; deploy one with `predictd redeploy {name} --build N`.",
            Exit.REFUSED,
        )
    given = dict(context.arguments.env)
    if missing := sorted(json.loads(earlier["environment"] or "{}").keys() - given.keys()):
        context.terminal.say(
            f"Deployment {earlier['deployment_number']} had the environment variables "
            f"{', '.join(missing)}; they are not inherited. Give them anew with "
            f"`predictd redeploy {name} --build {earlier['build_number']} --env NAME=VALUE`."
        )
    build = client.get(f"{model_path(model)}/builds/{earlier['build_id']}")
    sizes = {size: earlier[size] for size in SIZES}
    _deploy_again(context, model, build, {**sizes, "environment": given})


def get_or_create_model(
    client: Client, project: Json, name: str, *, authentication: bool | None = None
) -> tuple[Json, bool]:
    """The project's model of that name, made if need be; and whether it was. Whether callers need
    a key of their own stays as it is where nothing is said; a new model asks for one."""
    path = f"/projects/{project['id']}/models"
    for model in client.listing(path):
        if model["name"] == name:
            if authentication not in (None, model["auth_enabled"]):
                model = client.patch(model_path(model), {"auth_enabled": authentication})
            return model, False
    return client.post(path, {"name": name, "auth_enabled": authentication is not False}), True


def start_build(
    client: Client,
    model: Json,
    *,
    file: str,
    function: str,
    kernel: str | None = None,
    comment: str = "",
    example: object = None,
    deployment: Json | None = None,
    **places: str,
) -> Json:
    """Asks for a build of the project as it is at this moment. Where the `deployment` that is to
    follow would be refused, so is the build."""
    asked = {"file_path": file, "function_name": function, "comment": comment, **places}
    if kernel:
        asked["kernel"] = kernel
    wish: Json = asked if example is None else {**asked, "example": example}
    if deployment is not None:
        wish = {**wish, "auto_deployment_config": deployment}
    return client.post(f"{model_path(model)}/builds", wish)


def _build_again(
    context: Context,
    model: Json,
    *,
    file: str | None = None,
    function: str | None = None,
    deployment: Json | None = None,
) -> Json:
    """Asks for a build like the last one, but for what the arguments say."""
    arguments = context.arguments
    last = find_build(context.client, model, None)
    return start_build(
        context.client,
        model,
        file=file or last["file_path"],
        function=function or last["function_name"],
        kernel=arguments.kernel or last["kernel"],
        comment=arguments.comment,
        example=last["example"] if arguments.example is None else arguments.example,
        deployment=deployment,
        model_root_dir=last["model_root_dir"],
        build_script_path=last["build_script_path"],
        network=build_network(deployment) if deployment else arguments.network or last["network"],
    )


def build_network(deployment: Json) -> str:
    """What a build reaches: as its replicas, but a package index also where those reach nothing."""
    return "machine" if deployment["network"] == "none" else str(deployment["network"])


def start_deployment(client: Client, model: Json, build: Json, wishes: Json) -> Json:
    """Asks for a deployment; it waits by itself for a build that is not done yet."""
    return client.post(f"{model_path(model)}/builds/{build['id']}/deployments", wishes)


def curl_line(url: str, model: Json) -> str:
    """How to call the model of the gateway at `url` from a shell, with its example; KEY stands for
    the caller's own key."""
    from gateway.client.snippets import samples

    example = {} if model["example"] is None else model["example"]
    key = "KEY" if model["auth_enabled"] else ""
    return samples(f"{url}/model", model["access_key"], example, key).curl


def _deploy_again(context: Context, model: Json, build: Json, wishes: Json) -> None:
    if build["status"] in ("build failed", "timedout"):
        raise build_failed(model, build)
    deployment = start_deployment(context.client, model, build, wishes)
    name, number = full_name(model), deployment["deployment_number"]
    with detachable(f"Deployment {number} of {name}", f"predictd status {name}"):
        deployment = wait_for_deployment(context, model, build, deployment)
    context.terminal.result(deployment, _deployed(model, deployment))


def _deployment_options(context: Context, client: Client, model: Json) -> Json:
    """What the deployment shall be: as asked for, else as the present one, else as new ones are."""
    present = {}
    if model["current_deployment_id"]:
        deployments = client.listing(f"{model_path(model)}/deployments")
        present = next(each for each in deployments if each["id"] == model["current_deployment_id"])
    sizes = {
        size: getattr(context.arguments, size) or present.get(size) or NEW.get(size)
        for size in SIZES
    }
    network = context.arguments.network or present.get("network", "machine")
    return {**sizes, "network": network, "environment": dict(context.arguments.env)}


def _earlier_deployment(client: Client, model: Json) -> Json | None:
    """The last deployment before the present one that served another build which still exists."""
    served = [
        each for each in client.listing(f"{model_path(model)}/deployments") if each["deployed_at"]
    ]
    present = [each for each in served if each["id"] == model["current_deployment_id"]] or served[
        -1:
    ]
    for each in reversed(served):
        older = each["deployment_number"] < present[0]["deployment_number"]
        if older and each["build_id"] and each["build_id"] != present[0]["build_id"]:
            return each
    return None


def current_project(context: Context, file: str) -> Json:
    """The project asked for, or the one of the current folder, made if need be."""
    client = context.client
    if context.arguments.project:
        return find_project(client, context.arguments.project)
    folder = Path.cwd()
    if not (folder / file).is_file():
        raise CommandFailed(
            f"There is no file {file!r} in {folder}.",
            f"{_meant(folder, file)}Go to the project's folder, or name a project with --project.",
            Exit.USAGE,
        )
    projects = client.listing("/projects")
    for project in projects:
        if project["path"] == str(folder):
            return project
    name = _free_name(folder.name or "project", {each["name"] for each in projects})
    project = client.post("/projects", {"name": name, "template": "local", "path": str(folder)})
    context.terminal.say(f"Made the project {name!r} of this folder.")
    return project


def _meant(folder: Path, file: str) -> str:
    """The file of the folder that is likely meant, as a question."""
    close = get_close_matches(file, [each.name for each in folder.glob("*.py")], 1)
    return f"Did you mean {close[0]!r}? " if close else ""


def _free_name(wished: str, taken: set[str]) -> str:
    if wished not in taken:
        return wished
    return next(name for n in count(2) if (name := f"{wished}-{n}") not in taken)


def _tell(context: Context, project: Json, model: Json, build: Json, deployment: Json) -> None:
    client, terminal = context.client, context.terminal
    model = client.get(model_path(model))
    outcome = {"project": project, "model": model, "build": build, "deployment": deployment}
    lines = [_deployed(model, deployment)]
    if context.arguments.example is not None:
        answer = client.call(model["access_key"], context.arguments.example)["response"]
        outcome["answer"] = answer
        lines.append(f"It answers the example with {json.dumps(answer)}.")
    lines += ["Call it:", f"  {curl_line(context.public_url, model)}"]
    if model["auth_enabled"]:
        lines.append("`predictd key new` makes a KEY.")
    terminal.result(outcome, "\n".join(lines))


def _deployed(model: Json, deployment: Json) -> str:
    replicas = deployment["replicas"]
    return (
        f"{full_name(model)} serves build {deployment['build_number']} on {replicas} "
        f"replica{'s' * (replicas > 1)} (deployment {deployment['deployment_number']})."
    )

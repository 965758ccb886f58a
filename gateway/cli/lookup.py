"""Finds what the user names: MODEL, PROJECT, a build's number, an experiment's.

A model is named by its name, by `PROJECT/NAME` or by its id. Of several with one name it is that
of the current folder's project. Any other name that fits no model, or more than one, is an error
that lists the candidates: the command line never guesses.
"""

from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.folder_projects import remembered_project
from gateway.client import Client, Json
from gateway.suggested_command import suggested


def full_name(model: Json) -> str:
    """`PROJECT/NAME`, as the user may type it."""
    return f"{model['project']['name']}/{model['name']}"


def model_path(model: Json) -> str:
    """The path of the model in the admin API."""
    return f"/projects/{model['project']['id']}/models/{model['id']}"


def build_path(model: Json, build_id: str) -> str:
    """The path of one of the model's builds in the admin API."""
    return f"{model_path(model)}/builds/{build_id}"


def deployment_path(model: Json, deployment: Json) -> str:
    """The path of one of the model's deployments in the admin API."""
    return f"{build_path(model, deployment['build_id'])}/deployments/{deployment['id']}"


def experiment_path(experiment: Json) -> str:
    """The path of the experiment in the admin API."""
    return f"/projects/{experiment['project_id']}/experiments/{experiment['id']}"


def find_model(context: Context, text: str) -> Json:
    """The one model that `text` names."""
    models = context.client.listing("/models")
    fitting = [each for each in models if text in (each["name"], full_name(each), each["id"])]
    if len(fitting) > 1:
        here = projects_here(context)
        of_folder = [each for each in fitting if each["project"]["id"] in here]
        fitting = of_folder if len(of_folder) == 1 else fitting
    if len(fitting) > 1:
        candidates = ", ".join(f"{full_name(each)} ({each['id']})" for each in fitting)
        message = f"model name {text!r} is ambiguous: {candidates}"
        raise CommandFailed(message, "use PROJECT/NAME or the id", Exit.USAGE)
    if not fitting:
        raise _not_found("model", text, models, "predictd ls")
    return fitting[0]


def projects_here(context: Context) -> set[str]:
    """The ids of the projects that the current folder is linked to or was uploaded to. An equal
    path on another machine is another folder."""
    folder, is_local = Path.cwd(), not context.named
    found = set[str]()
    with suppress(OSError, ValueError):  # an upload reports a damaged file
        found.add(remembered_project(context.environment, gateway_of(context), folder))
    projects = context.client.listing("/projects") if is_local else []
    return found | {e["id"] for e in projects if e["linked"] and e["path"] == str(folder)}


def gateway_of(context: Context) -> str:
    """By which name the projects of folders are remembered: its URL, or its data folder."""
    return context.client.url if context.named else str(context.data)


def find_project(client: Client, text: str) -> Json:
    """The project whose name or id is `text`; names are unique."""
    projects = client.listing("/projects")
    for project in projects:
        if text in (project["name"], project["id"]):
            return project
    raise _not_found("project", text, projects, "predictd project ls")


def find_build(client: Client, model: Json, number: int | None) -> Json:
    """The model's build of that number, or its latest one."""
    builds = client.listing(f"{model_path(model)}/builds")
    for build in reversed(builds):
        if number in (None, build["build_number"]):
            return build
    name = full_name(model)
    message = f"model {name!r} has no build"
    if number is not None:
        message += f" {number}"
    raise CommandFailed(
        message, f"list its builds with {suggested('build ls', name)}", Exit.REFUSED
    )


def find_experiment(client: Client, text: str) -> Json:
    """The experiment whose number or id is `text`."""
    for experiment in client.listing("/experiments"):
        if text in (str(experiment["experiment_number"]), experiment["id"]):
            return experiment
    message = f"experiment {text!r} does not exist"
    raise CommandFailed(message, "list them with `predictd experiment ls`", Exit.REFUSED)


def _not_found(noun: str, text: str, existing: list[Json], listing: str) -> CommandFailed:
    close = get_close_matches(text, [each["name"] for each in existing], 1)
    advice = f"did you mean {close[0]!r}? " if close else ""
    if text.isdecimal():
        advice = f"name the {noun} before the number; "
    return CommandFailed(
        f"{noun} {text!r} does not exist", f"{advice}list them with `{listing}`", Exit.REFUSED
    )

"""From what the user typed to the thing meant: MODEL, PROJECT, build number, RUN.

A model is named by its name, by `project/name` or by its id. What fits nothing, or more than one
thing, is told together with what there is; the command line never guesses.
"""

from difflib import get_close_matches

from gateway.cli.context import CommandFailed, Exit
from gateway.client import Client, Json


def full_name(model: Json) -> str:
    """`project/name`, as the user may type it."""
    return f"{model['project']['name']}/{model['name']}"


def model_path(model: Json) -> str:
    """Where the model is in the admin API."""
    return f"/projects/{model['project']['id']}/models/{model['id']}"


def find_model(client: Client, text: str) -> Json:
    """The one model that `text` names."""
    models = client.listing("/models")
    fitting = [each for each in models if text in (each["name"], full_name(each), each["id"])]
    if len(fitting) > 1:
        candidates = ", ".join(f"{full_name(each)} ({each['id']})" for each in fitting)
        message = f"{text!r} may be any of: {candidates}."
        raise CommandFailed(message, "Name one of them in full, or by its id.", Exit.USAGE)
    if not fitting:
        raise _nothing("model", text, models, "predictd ls")
    return fitting[0]


def find_project(client: Client, text: str) -> Json:
    """The project whose name or id is `text`; names are unique."""
    projects = client.listing("/projects")
    for project in projects:
        if text in (project["name"], project["id"]):
            return project
    raise _nothing("project", text, projects, "predictd project ls")


def find_build(client: Client, model: Json, number: int | None) -> Json:
    """The model's build of that number, or its latest one."""
    builds = client.listing(f"{model_path(model)}/builds")
    for build in reversed(builds):
        if number in (None, build["build_number"]):
            return build
    name = full_name(model)
    message = f"{name} has no build yet." if number is None else f"{name} has no build {number}."
    raise CommandFailed(message, f"See its builds with `predictd builds {name}`.", Exit.REFUSED)


def find_experiment(client: Client, text: str) -> Json:
    """The experiment whose number or id is `text`."""
    for experiment in client.listing("/experiments"):
        if text in (str(experiment["experiment_number"]), experiment["id"]):
            return experiment
    message = f"There is no experiment {text!r}."
    raise CommandFailed(message, "See what there is with `predictd runs`.", Exit.REFUSED)


def _nothing(noun: str, text: str, there: list[Json], listing: str) -> CommandFailed:
    close = get_close_matches(text, [each["name"] for each in there], 1)
    advice = f"Did you mean {close[0]!r}? " if close else ""
    return CommandFailed(
        f"There is no {noun} {text!r}.",
        f"{advice}See what there is with `{listing}`.",
        Exit.REFUSED,
    )

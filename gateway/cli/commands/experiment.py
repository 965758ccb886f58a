"""The verbs `predictd experiment ...`: run, ls, log, stop, rm, compare, files, promote.

An experiment is one run of a script, known by its number. What the script prints is the result of
`experiment run` and goes to stdout as it comes. The exit code says whether the script succeeded.
"""

import itertools
from argparse import REMAINDER, Action, ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from gateway.cli.arguments import cpu, memory
from gateway.cli.command import argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.lookup import experiment_path, find_experiment, find_project
from gateway.cli.options import FRESH, GPUS, KERNEL, OF_PROJECT, TIMEOUT, UPLOAD, WAIT, YES, network
from gateway.cli.project_of_folder import current_project, uploads_here
from gateway.cli.terminal import plural, printable, table, when
from gateway.cli.uploading import amount
from gateway.cli.watch import detachable, end_if_detached, log_events, reason_of
from gateway.client import ApiError, Json
from gateway.suggested_command import sentences, suggested

# The most files of an experiment that are named; the others are counted.
_LISTED_FILES = 10
# These are also recognized after SCRIPT. Others, such as --data, are common options of scripts.
_RECOGNIZED = ("--kernel", "--cpu", "--memory", "--gpus", "--comment", "--network", "--keep")
_FLAGS = ("--fresh",)
_EXPERIMENT = argument("experiment", metavar="EXPERIMENT", help="its number or id")


class _ScriptArguments(Action):
    """The words after SCRIPT: the script's own arguments, and options of the command."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option: str | None = None
    ) -> None:
        options, arguments = split_script_arguments(values)
        if options:
            parser.parse_args([*options, namespace.script], namespace)
        namespace.arguments = arguments


def split_script_arguments(words: list[str]) -> tuple[list[str], list[str]]:
    """Splits the words after SCRIPT into options of the command and arguments of the script. A `--`
    ends the options and belongs to neither."""
    options: list[str] = []
    arguments: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            arguments += rest
        elif word in _FLAGS:
            options.append(word)
        elif word in _RECOGNIZED:
            options += [word, *itertools.islice(rest, 1)]
        elif word.partition("=")[0] in _RECOGNIZED:
            options.append(word)
        else:
            arguments.append(word)
    return options, arguments


@command(
    "experiment run",
    "run a script of the project",
    argument("script", metavar="SCRIPT", help="a file of the project"),
    argument(
        "arguments",
        metavar="ARGS",
        nargs=REMAINDER,
        action=_ScriptArguments,
        help="arguments for SCRIPT; after `--` also those named like options of this command",
    ),
    OF_PROJECT,
    UPLOAD,
    KERNEL,
    argument("--cpu", metavar="CPUS", type=cpu, help="virtual CPUs (default 1)"),
    argument(
        "--memory",
        metavar="SIZE",
        type=memory,
        help="memory limit (default 2GiB, or less on a small machine)",
    ),
    GPUS,
    argument("--comment", metavar="TEXT", help="what changed in this run"),
    argument(
        "--keep",
        metavar="PATTERN",
        action="append",
        help="new and changed files to keep, such as '*.pkl'; may be repeated (default: all)",
    ),
    network("default: machine"),
    FRESH,
    *WAIT,
    examples=[
        "predictd experiment run fit.py",
        "predictd experiment run fit.py --cpu 2 -- --epochs 10",
    ],
)
def run(context: Context) -> None:
    """Runs a script of the project and shows what it prints."""
    arguments, client = context.arguments, context.client
    project, _ = current_project(context, arguments.script)
    asked = {"script": arguments.script, "arguments": arguments.arguments}
    for name in ("kernel", "comment", "cpu", "memory", "network", "keep", "fresh"):
        if (value := getattr(arguments, name)) is not None:
            asked[name] = value
    asked["nvidia_gpus"] = arguments.gpus or 0
    experiment = client.post(f"/projects/{project['id']}/experiments", asked)
    number = experiment["experiment_number"]
    look = suggested("experiment log", number)
    end_if_detached(context, experiment, f"experiment {number}", look)
    context.terminal.say(f"Experiment {number} of {project['name']}.")
    with _detachable(context, experiment):
        experiment = _follow(context, experiment)
    _report(context, experiment)


@command(
    "experiment ls",
    "list experiments and their metrics",
    argument("--project", metavar="PROJECT", help="only this project"),
    examples=["predictd experiment ls --project iris"],
)
def ls(context: Context) -> None:
    """The experiments of a project, or of all, oldest first."""
    client, named = context.client, context.arguments.project
    path = f"/projects/{find_project(client, named)['id']}" if named else ""
    found = client.listing(f"{path}/experiments")
    names = {each["id"]: each["name"] for each in client.listing("/projects")}
    rows = [
        (
            each["experiment_number"],
            each["status"],
            names.get(each["project_id"], ""),
            " ".join((each["script"], *each["arguments"])),
            _metrics_line(each["metrics"]),
            when(each["started_at"]),
            _duration(each),
            each["comment"],
        )
        for each in found
    ]
    times = ("STARTED (UTC)", "DURATION")
    headings = ("EXPERIMENT", "STATUS", "PROJECT", "SCRIPT", "METRICS", *times, "COMMENT")
    none = "No experiments. Start one with `predictd experiment run SCRIPT`."
    context.terminal.result({"experiments": found}, table(headings, rows) if rows else none)


@command(
    "experiment log",
    "print the log of an experiment until it ends",
    _EXPERIMENT,
    TIMEOUT,
    examples=["predictd experiment log 12"],
)
def log(context: Context) -> None:
    """The log of an experiment from its first line; of a running one, until it ends. With `--json`
    each line is a document `{"stream", "text"}`, where the stream is `preparing` or `script`, and
    the last one is `{"experiment"}`."""
    experiment = find_experiment(context.client, context.arguments.experiment)
    number = experiment["experiment_number"]
    with _detachable(context, experiment):
        experiment = _follow(context, experiment, lines_as_json=True)
    if context.terminal.as_json:
        context.terminal.result({"experiment": experiment}, "")
    else:
        results = _results(experiment, _files(context, experiment))
        context.terminal.say(" ".join((f"Experiment {number}: {experiment['status']}.", *results)))


@command(
    "experiment stop",
    "stop a running script",
    _EXPERIMENT,
    examples=["predictd experiment stop 12"],
)
def stop(context: Context) -> None:
    """Stops an experiment with all processes that its script started."""
    experiment = find_experiment(context.client, context.arguments.experiment)
    experiment = context.client.post(f"{experiment_path(experiment)}:stop")
    text = f"Experiment {experiment['experiment_number']} is {experiment['status']}."
    context.terminal.result(experiment, text)


@command(
    "experiment rm",
    "delete an experiment with its files",
    _EXPERIMENT,
    YES,
    examples=["predictd experiment rm 12"],
)
def rm(context: Context) -> None:
    """Deletes an experiment with its log, metrics and files."""
    experiment = find_experiment(context.client, context.arguments.experiment)
    number = experiment["experiment_number"]
    context.confirm(f"Delete experiment {number} with its files?")
    context.client.delete(experiment_path(experiment))
    context.terminal.result({"deleted": experiment["id"]}, f"Deleted experiment {number}.")


@command(
    "experiment compare",
    "show experiments side by side",
    argument("experiments", metavar="EXPERIMENT", nargs="+", help="numbers or ids"),
    examples=["predictd experiment compare 11 12"],
)
def compare(context: Context) -> None:
    """Experiments of one project side by side, with one row for each metric."""
    client = context.client
    chosen = [find_experiment(client, each) for each in context.arguments.experiments]
    projects = {each["project_id"] for each in chosen}
    if len(projects) > 1:
        message = "the experiments are of different projects"
        raise CommandFailed(message, "compare experiments of one project", Exit.USAGE)
    ids = ",".join(each["id"] for each in chosen)
    compared = client.get(f"/projects/{projects.pop()}/experiments:compare", ids=ids)
    context.terminal.result(compared, _comparison(compared))


@command(
    "experiment files",
    "list the files that an experiment keeps",
    _EXPERIMENT,
    examples=["predictd experiment files 12"],
)
def files(context: Context) -> None:
    """The files that it tracked, and the new and changed ones that are kept."""
    experiment = find_experiment(context.client, context.arguments.experiment)
    found = _files(context, experiment)
    rows = [(each["path"], amount(int(each["file_size"]))) for each in found]
    none = f"Experiment {experiment['experiment_number']} has no files."
    text = table(("FILE", "SIZE"), rows) if rows else none
    context.terminal.result({"files": found}, text)


@command(
    "experiment promote",
    "copy a file of an experiment into its project",
    _EXPERIMENT,
    argument("file", metavar="FILE"),
    argument("--to", metavar="PATH", help="path in the project (default: the same)"),
    examples=["predictd experiment promote 12 model.pkl"],
)
def promote(context: Context) -> None:
    """Copies a file of an experiment into its project."""
    experiment = find_experiment(context.client, context.arguments.experiment)
    file, target = context.arguments.file, context.arguments.to or context.arguments.file
    body = {"path": file, "target": target}
    number = experiment["experiment_number"]
    try:
        added = context.client.post(f"{experiment_path(experiment)}:add_to_project", body)
    except ApiError as error:
        if error.code != "file.notfound":
            raise
        raise CommandFailed(
            f"experiment {number} has no file {file!r}",
            f"list its files with {suggested('experiment files', number)}",
            Exit.REFUSED,
        ) from error
    text = f"Copied {file} of experiment {number} to {target} of the project."
    if hidden_by := added["hidden_by"]:
        context.terminal.say(
            f"warning: builds will not have {target}: {printable(hidden_by)} hides it. "
            f"Add the line `!/{target}` at the end of the project's .gitignore."
        )
    document = {"experiment": experiment["id"], "path": target, "hidden_by": hidden_by}
    context.terminal.result(document, text)
    if uploads_here(context, experiment["project_id"]):
        context.terminal.say(
            f"The next upload of this folder replaces it by the folder's own {target}, if there is "
            f"one. Download it with {suggested('files get', target, target)}."
        )


def _follow(context: Context, experiment: Json, *, lines_as_json: bool = False) -> Json:
    """Shows its log as it comes, with `--json` only if `lines_as_json`; returns it at its end."""
    path, terminal = experiment_path(experiment), context.terminal
    for event in log_events(context.client, path, "experiment"):
        if terminal.as_json and lines_as_json:
            stream = "preparing" if event.name == "preparing" else "script"
            terminal.result({"stream": stream, "text": event.data}, "")
        elif event.name == "preparing":
            terminal.say(terminal.style.dim(printable(event.data)))
        elif not terminal.as_json:
            terminal.line(printable(event.data))
    return context.client.get(path)


def _report(context: Context, experiment: Json) -> None:
    """Reports how it ended. Raises CommandFailed if it did not succeed."""
    number, status = experiment["experiment_number"], experiment["status"]
    if status != "succeeded":
        failure = experiment["failure"] or {}
        reason = f": {reason_of(failure)}" if failure else ""
        log = f"print the log with {suggested('experiment log', number)}"
        advice = sentences(failure.get("advice", ""), log)
        happened = "failed" if status == "failed" else f"was {status}"
        message = f"experiment {number} {happened}{reason}"
        raise CommandFailed(message, advice, Exit.FAILED)
    files = _files(context, experiment)
    if context.terminal.as_json:
        context.terminal.result({**experiment, "files": files}, "")
        return
    succeeded = f"Experiment {number} succeeded in {_duration(experiment)}."
    context.terminal.say(" ".join((succeeded, *_results(experiment, files))))


def _results(experiment: Json, files: Sequence[Json]) -> list[str]:
    """Its metrics and files, in sentences."""
    number, sentences = experiment["experiment_number"], []
    if experiment["metrics"]:
        sentences.append(f"Metrics: {_metrics_line(experiment['metrics'])}.")
    if files:
        named = files[:_LISTED_FILES]
        names = ", ".join(f"{each['path']} ({amount(int(each['file_size']))})" for each in named)
        rest = len(files) - _LISTED_FILES
        more = f" and {plural(rest, 'more file')}" if rest > 0 else ""
        copy = suggested("experiment promote", number, "FILE")
        sentences.append(f"Files: {names}{more}. Copy one into the project with {copy}.")
    return [printable(each) for each in sentences]


def _files(context: Context, experiment: Json) -> list[Json]:
    return context.client.listing(f"{experiment_path(experiment)}/files")


def _detachable(context: Context, experiment: Json) -> AbstractContextManager[None]:
    number = experiment["experiment_number"]
    return detachable(
        context,
        f"experiment {number}",
        suggested("experiment log", number),
        suggested("experiment stop", number),
        lambda: context.client.post(f"{experiment_path(experiment)}:stop"),
    )


def _comparison(compared: Json) -> str:
    experiments: Sequence[Json] = compared["experiments"]
    headings = ("", *(f"EXPERIMENT {each['experiment_number']}" for each in experiments))
    rows = [
        ("script", *(each["script"] for each in experiments)),
        ("arguments", *(" ".join(each["arguments"]) for each in experiments)),
        ("comment", *(each["comment"] for each in experiments)),
        ("status", *(each["status"] for each in experiments)),
        ("packages", *(_packages(each) for each in experiments)),
        *((key, *map(_value, values)) for key, values in compared["metrics"].items()),
    ]
    return table(headings, [row for row in rows if any(row[1:])])


def _packages(experiment: Json) -> str:
    """How many packages its environment had, and the lock by which equal ones are recognized."""
    lock = experiment["lock"]
    return f"{lock['packages']} (lock {lock['id'][:8]})" if lock else ""


def _metrics_line(metrics: Json) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in metrics.items())


def _value(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _duration(experiment: Json) -> str:
    if not experiment["started_at"] or not experiment["ended_at"]:
        return ""
    began = datetime.fromisoformat(experiment["started_at"])
    ended = datetime.fromisoformat(experiment["ended_at"])
    return f"{(ended - began).total_seconds():.1f} s"

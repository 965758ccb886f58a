"""The verbs of experiments: run, runs, run-log, run-stop, run-rm, compare, add-to-project.

An experiment is one run of a script, known by its number. What its script prints is the result of
`run` and goes to stdout, line by line as it comes; how it ended decides on the exit code.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.deploy import current_project
from gateway.cli.lookup import find_experiment, find_project
from gateway.cli.models import confirm_or_exit, when
from gateway.cli.terminal import printable, table
from gateway.cli.watch import detachable, log_events, reason_of
from gateway.client import Json

# Of the files of an experiment.
_NAMED = 10


def run(context: Context) -> None:
    """`predictd run SCRIPT ARGS`: runs a script of the project and shows what it prints."""
    arguments, client = context.arguments, context.client
    project = current_project(context, arguments.script)
    asked = {"script": arguments.script, "arguments": arguments.arguments}
    for name in ("kernel", "comment", "cpu", "memory", "network"):
        if (value := getattr(arguments, name)) is not None:
            asked[name] = value
    experiment = client.post(f"/projects/{project['id']}/experiments", asked)
    number = experiment["experiment_number"]
    context.terminal.say(f"Experiment {number} of {project['name']}.")
    with _leaving_it_going(number):
        experiment = _follow(context, experiment)
    _tell(context, experiment)


def runs(context: Context) -> None:
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
    times = ("STARTED (UTC)", "TOOK")
    headings = ("RUN", "STATUS", "PROJECT", "SCRIPT", "METRICS", *times, "COMMENT")
    nothing = "No experiment yet. Make one with `predictd run SCRIPT`."
    context.terminal.result({"experiments": found}, table(headings, rows) if rows else nothing)


def run_log(context: Context) -> None:
    """What an experiment printed, from its first line on; of one that still runs, to its end."""
    experiment = find_experiment(context.client, context.arguments.run_number)
    number = experiment["experiment_number"]
    lines: list[str] = []
    with _leaving_it_going(number):
        experiment = _follow(context, experiment, lines)
    if context.terminal.as_json:
        context.terminal.result({"experiment": experiment, "lines": lines}, "")
    else:
        came_to = _came_to(experiment, _files(context, experiment))
        context.terminal.say(" ".join((f"Experiment {number}: {experiment['status']}.", *came_to)))


def run_stop(context: Context) -> None:
    """Ends an experiment with all that its script started."""
    experiment = find_experiment(context.client, context.arguments.run_number)
    experiment = context.client.post(f"{_path(experiment)}:stop")
    text = f"Experiment {experiment['experiment_number']} is {experiment['status']}."
    context.terminal.result(experiment, text)


def run_rm(context: Context) -> None:
    """Deletes an experiment with what it printed, tracked and kept."""
    experiment = find_experiment(context.client, context.arguments.run_number)
    number = experiment["experiment_number"]
    confirm_or_exit(context, f"Delete experiment {number} with its files?")
    context.client.delete(_path(experiment))
    context.terminal.result({"deleted": experiment["id"]}, f"Experiment {number} is deleted.")


def compare(context: Context) -> None:
    """Experiments of one project side by side: what they came to, metric by metric."""
    client = context.client
    chosen = [find_experiment(client, each) for each in context.arguments.run_numbers]
    projects = {each["project_id"] for each in chosen}
    if len(projects) > 1:
        message = "These experiments are of different projects."
        raise CommandFailed(message, "Compare those of one project.", Exit.USAGE)
    ids = ",".join(each["id"] for each in chosen)
    compared = client.get(f"/projects/{projects.pop()}/experiments:compare", ids=ids)
    context.terminal.result(compared, _comparison(compared))


def add_to_project(context: Context) -> None:
    """Copies a file that an experiment kept into its project."""
    experiment = find_experiment(context.client, context.arguments.run_number)
    file, target = context.arguments.file, context.arguments.to or context.arguments.file
    context.client.post(f"{_path(experiment)}:add_to_project", {"path": file, "target": target})
    number = experiment["experiment_number"]
    text = f"{target} of the project is now what experiment {number} kept as {file}."
    context.terminal.result({"experiment": experiment["id"], "path": target}, text)


def _follow(context: Context, experiment: Json, lines: list[str] | None = None) -> Json:
    """Shows its log as it comes, or takes it into `lines`; returns it at its end."""
    path, terminal = _path(experiment), context.terminal
    for event in log_events(context.client, path, "experiment"):
        if lines is not None:
            lines.append(event.data)
        if event.name == "preparing":
            terminal.say(terminal.paint.dim(printable(event.data)))
        elif not terminal.as_json:
            terminal.line(printable(event.data))
    return context.client.get(path)


def _tell(context: Context, experiment: Json) -> None:
    """How it ended: the exit code says so too."""
    number, status = experiment["experiment_number"], experiment["status"]
    if status != "succeeded":
        reason = f": {reason_of(experiment['failure'])}" if experiment["failure"] else "."
        advice = (experiment["failure"] or {}).get("advice") or ""
        again = f"The whole log: `predictd run-log {number}`."
        happened = "failed" if status == "failed" else f"was {status}"
        message = f"Experiment {number} {happened}{reason}"
        raise CommandFailed(message, f"{advice} {again}".strip(), Exit.FAILED)
    files = _files(context, experiment)
    if context.terminal.as_json:
        context.terminal.result({**experiment, "files": files}, "")
        return
    told = f"Experiment {number} succeeded in {_duration(experiment)}."
    context.terminal.say(" ".join((told, *_came_to(experiment, files))))


def _came_to(experiment: Json, files: Sequence[Json]) -> list[str]:
    """What there is of it now, in sentences."""
    number, told = experiment["experiment_number"], []
    if experiment["metrics"]:
        told.append(f"It tracked {_metrics_line(experiment['metrics'])}.")
    if files:
        names = ", ".join(each["path"] for each in files[:_NAMED])
        more = f" and {len(files) - _NAMED:,} more" if len(files) > _NAMED else ""
        take = f"predictd add-to-project {number} FILE"
        told.append(f"It kept {names}{more}: take it with `{take}`.")
    return [printable(each) for each in told]


def _files(context: Context, experiment: Json) -> list[Json]:
    return context.client.listing(f"{_path(experiment)}/files")


def _leaving_it_going(number: int) -> AbstractContextManager[None]:
    return detachable(
        f"Experiment {number}", f"predictd run-log {number}", f"predictd run-stop {number}"
    )


def _comparison(compared: Json) -> str:
    experiments: Sequence[Json] = compared["experiments"]
    headings = ("", *(f"RUN {each['experiment_number']}" for each in experiments))
    rows = [
        ("script", *(each["script"] for each in experiments)),
        ("arguments", *(" ".join(each["arguments"]) for each in experiments)),
        ("comment", *(each["comment"] for each in experiments)),
        ("status", *(each["status"] for each in experiments)),
        *((key, *map(_value, values)) for key, values in compared["metrics"].items()),
    ]
    return table(headings, [row for row in rows if any(row[1:])])


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


def _path(experiment: Json) -> str:
    return f"/projects/{experiment['project_id']}/experiments/{experiment['id']}"

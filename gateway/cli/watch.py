"""Watching a build and a deployment until they end, step by step and line by line.

Watching changes nothing: whoever stops watching leaves the work going on, and is told how to look
again. What failed ends the command with the reason that the gateway recorded.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.lookup import full_name, model_path
from gateway.cli.terminal import Style, printable
from gateway.client import Client, Event, Json, ServerUnreachable

POLL_SECONDS = 0.2
_AGAIN = {"build": "made anew", "experiment": "run again"}
MARKS = {"done": "✓", "failed": "✗"}


def follow_build(context: Context, model: Json, build: Json) -> Json:
    """Shows the build's steps and log as they come; returns the build when it is built."""
    path = f"{model_path(model)}/builds/{build['id']}"
    paint = context.terminal.paint
    with context.terminal.live(f"build {build['build_number']}") as live:
        steps = _StepDisplay(context.terminal.say, paint)
        for name, data in log_events(context.client, path):
            if name == "line":
                context.terminal.say(paint.dim(printable(data)))
            elif name == "steps":
                live.label = f"build {build['build_number']}: {steps.show(data)}"
    build = context.client.get(path)
    if build["status"] not in ("built", "succeeded"):
        raise build_failed(model, build)
    return build


def log_events(client: Client, path: str, what: str = "build") -> Iterator[Event]:
    """The events of the log of a build, or `what` it is, from its first line on, up to the one that
    tells its end."""
    for event in client.events(f"{path}/log"):
        if event.name == "end":
            return
        yield event
    raise ServerUnreachable(
        f"The gateway ended before the {what} did.",
        f"Start it again with `predictd serve`; what was cut short has to be {_AGAIN[what]}.",
    )


def wait_for_deployment(context: Context, model: Json, build: Json, deployment: Json) -> Json:
    """Waits until the deployment serves; returns it then."""
    path = f"{model_path(model)}/builds/{build['id']}/deployments/{deployment['id']}"
    said = ""
    with context.terminal.live("deployment") as live:
        while deployment["status"] in ("pending", "deploying"):
            number, waiting_for = deployment["deployment_number"], deployment["waiting_for"]
            live.label = f"deployment {number}: {progress_of(deployment)}"
            # What comes after the colon changes while one waits.
            if waiting_for and waiting_for.partition(":")[0] != said:
                context.terminal.say(f"Deployment {number} waits for {waiting_for}.")
                said = waiting_for.partition(":")[0]
            deployment = look_again(context.client, path)
    if deployment["status"] != "deployed":
        raise _deployment_failed(context.client, model, deployment)
    return deployment


def progress_of(deployment: Json) -> str:
    """How far it is: its replicas, or what it waits for before they can be started."""
    if deployment["waiting_for"]:
        return f"waiting for {deployment['waiting_for']}"
    return f"{deployment['replicas_ready']} of {deployment['replicas']} replicas ready"


def look_again(client: Client, path: str) -> Json:
    """What is at `path`, a moment later."""
    time.sleep(POLL_SECONDS)
    return client.get(path)


@contextmanager
def detachable(what: str, again: str, end: str = "") -> Iterator[None]:
    """Ctrl-C inside the block ends the command, not the work that it watches: `end` would."""
    try:
        yield
    except KeyboardInterrupt:
        advice = f"Look again with `{again}`" + (f", end it with `{end}`." if end else ".")
        raise CommandFailed(f"{what} goes on without you.", advice, Exit.INTERRUPTED) from None


def build_failed(model: Json, build: Json) -> CommandFailed:
    """How a build that is not built ends the command."""
    name, number = full_name(model), build["build_number"]
    again = f"The whole log: `predictd build-log {name} {number}`."
    happened = "took too long" if build["status"] == "timedout" else "failed"
    return _failed(f"Build {number} of {name} {happened}", build["failure"], again)


def _deployment_failed(client: Client, model: Json, deployment: Json) -> CommandFailed:
    name, number = full_name(model), deployment["deployment_number"]
    again = f"See `predictd logs {name}` and `predictd deployments {name}`."
    current = client.get(model_path(model))
    if current["status"] == "deployed":
        again = f"What served before still serves. {again}"
    happened = "failed" if deployment["status"] == "failed" else "was stopped before it was ready"
    return _failed(f"Deployment {number} of {name} {happened}", deployment["failure"], again)


def _failed(sentence: str, failure: Json | None, again: str) -> CommandFailed:
    if not failure:
        return CommandFailed(f"{sentence}.", again, Exit.FAILED)
    where = f" at {_title(failure['step'])}" if failure["step"] else ""
    return CommandFailed(
        f"{sentence}{where}: {reason_of(failure)}", f"{failure['advice']} {again}", Exit.FAILED
    )


def reason_of(failure: Json) -> str:
    """What happened, and what was found: the advice apart."""
    return "\n".join(filter(None, (failure["summary"], failure["problem"])))


class _StepDisplay:
    """Says each step of a build once, when it has ended."""

    def __init__(self, say: Callable[[str], None], paint: Style) -> None:
        self._say = say
        self._colours = {"done": paint.good, "failed": paint.bad}
        self._said = set[str]()

    def show(self, steps: list[Json]) -> str:
        """Prints the steps that have changed; returns the name of the step that runs."""
        running = "waiting"
        for step in steps:
            state, title = step["state"], _title(step["name"])
            if state == "running":
                running = title
            if state in MARKS and step["name"] not in self._said:
                self._said.add(step["name"])
                seconds = "" if step["seconds"] is None else f"  {step['seconds']:.1f} s"
                self._say(f"{self._colours[state](MARKS[state])} {title}{seconds}")
        return running


def _title(step: str) -> str:
    return step.replace("_", " ").lower()

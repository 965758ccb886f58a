"""Watches a build and a deployment until they end.

Watching changes nothing: Ctrl-C ends the command, and the work continues. On a terminal a second
Ctrl-C within a few seconds cancels the work. A failure ends the command with the reason that the
gateway recorded.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.cli.context import CommandFailed, Context, Detached, Exit
from gateway.cli.left_out import left_out_hint
from gateway.cli.lookup import build_path, deployment_path, full_name, model_path
from gateway.cli.progress import BuildProgress, estimate_from, title
from gateway.cli.terminal import Style, printable
from gateway.cli.time_limit import TimeLimitReached
from gateway.client import ApiError, Client, Json, ServerSentEvent, ServerUnreachable
from gateway.suggested_command import sentences, suggested

SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds
# How much later than the work a command may end, as a share of the work's time.
LATER = 0.05
# How long a second Ctrl-C is waited for, in seconds.
SECOND_PRESS = 3.0
MARKS = {"done": "✓", "failed": "✗"}
_UNSUCCESSFUL = ("build failed", "timedout")


def follow_build(context: Context, model: Json, build: Json) -> Json:
    """Shows the steps and the log of a build as they come; returns it when it is built."""
    path = build_path(model, build["id"])
    style = context.terminal.style
    with context.terminal.spinner(f"build {build['build_number']}") as spinner:
        steps = PrintedSteps(context.terminal.say, style)
        if context.terminal.is_animated:
            builds = context.client.listing(f"{model_path(model)}/builds")
            progress = BuildProgress(spinner.label, estimate_from(builds))
            spinner.progress = progress
        for name, data in log_events(context.client, path, "build"):
            if name == "line":
                context.terminal.say(style.dim(printable(data)))
            elif name == "steps":
                steps.show(data)
                if context.terminal.is_animated:
                    progress.update(data)
    build = context.client.get(path)
    check_built(model, build)
    return build


def check_built(model: Json, build: Json) -> None:
    """Raises CommandFailed, with the reason, for a build that failed."""
    if build["status"] not in _UNSUCCESSFUL:
        return
    name, number = full_name(model), build["build_number"]
    happened = "took too long" if build["status"] == "timedout" else "failed"
    advice = f"print the log with {suggested('build log', name, number)}"
    if build["cancelled_by"]:
        text = f"build {number} of {name!r} was cancelled by {build['cancelled_by']!r}"
        raise CommandFailed(text, advice, Exit.FAILED)
    raise _failed(f"build {number} of {name!r} {happened}", build["failure"], advice)


def build_status(build: Json) -> str:
    """The status of a build, which for a cancelled one names the user."""
    by = build["cancelled_by"]
    return f"cancelled by {by}" if by else str(build["status"])


def log_events(client: Client, path: str, what: str) -> Iterator[ServerSentEvent]:
    """The events of the log at `path`, from its first line to its end. Raises ServerUnreachable if
    the gateway ends before `what` (a build, an experiment) does."""
    for event in client.events(f"{path}/log"):
        if event.name == "end":
            return
        yield event
    raise ServerUnreachable(
        f"the gateway stopped before the {what} ended",
        f"start it with `predictd serve`, then start the {what} again",
    )


def wait_for_deployment(context: Context, model: Json, deployment: Json) -> Json:
    """Waits until the deployment serves; returns it then."""
    reported = ""
    with context.terminal.spinner("deployment") as spinner:
        for current in poll(context.client, deployment_path(model, deployment)):
            deployment = current
            if deployment["status"] not in ("pending", "deploying"):
                break
            number, waiting_for = deployment["deployment_number"], deployment["waiting_for"]
            spinner.label = f"deployment {number}: {progress_of(deployment)}"
            # The amounts after the colon change during the wait.
            if waiting_for and waiting_for.partition(":")[0] != reported:
                context.terminal.say(f"Deployment {number} waits for {waiting_for}.")
                reported = waiting_for.partition(":")[0]
    if deployment["status"] != "deployed":
        raise _deployment_failed(context.client, model, deployment)
    return deployment


def progress_of(deployment: Json) -> str:
    """How many replicas are ready, or what the deployment waits for."""
    if deployment["waiting_for"]:
        return f"waiting for {deployment['waiting_for']}"
    return f"{deployment['replicas_ready']} of {deployment['replicas']} replicas ready"


def poll(client: Client, path: str) -> Iterator[Json]:
    """Yields the document at `path` repeatedly. The pauses grow with the time since the start, so
    the end is seen `LATER` by a small share of it."""
    began = time.monotonic()
    while True:
        yield client.get(path)
        waited = LATER * (time.monotonic() - began)
        time.sleep(min(max(waited, SHORTEST_PAUSE), LONGEST_PAUSE))


@contextmanager
def detachable(
    context: Context,
    what: str,
    look: str,
    stop: str = "",
    cancel: Callable[[], object] | None = None,
) -> Iterator[None]:
    """Ctrl-C inside the block ends the command, not the work. `look` and `stop` are the suggested
    commands that show the work again and end it. On a terminal a second Ctrl-C calls `cancel`.
    `--timeout` ends the command as the first Ctrl-C does."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        advice = f"see it with {look}" + (f", stop it with {stop}" if stop else "")
        if isinstance(interrupt, TimeLimitReached):
            message = f"{what} continues after the time-out"
            raise CommandFailed(message, advice, Exit.TIMED_OUT) from None
        if cancel is not None and context.terminal.is_animated and _pressed_again(context, what):
            cancel()
            raise CommandFailed(f"{what} was cancelled", "", Exit.INTERRUPTED) from None
        raise CommandFailed(f"{what} continues", advice, Exit.INTERRUPTED) from None


def end_if_detached(context: Context, document: Json, what: str, look: str) -> None:
    """With `--detach` ends the command, whose result is `document`."""
    if getattr(context.arguments, "detach", False):
        raise Detached(document, f"Started {what}. See it with {look}.")


def _pressed_again(context: Context, what: str) -> bool:
    context.terminal.say(
        f"Ctrl-C again within {SECOND_PRESS:.0f} s cancels {what}; else it continues."
    )
    try:
        time.sleep(SECOND_PRESS)
    except KeyboardInterrupt:
        return True
    return False


def cancel_started(
    context: Context, model: Json, build: Json, deployment: Json | None = None
) -> None:
    """Cancels a build that is being made, or stops its deployment before it serves."""
    client = context.client
    try:
        client.post(f"{build_path(model, build['id'])}:cancel")
        return
    except ApiError as error:
        if error.code != "state.conflict":
            raise
    if deployment is not None:
        path = deployment_path(model, deployment)
        if client.get(path)["status"] in ("pending", "deploying"):
            client.post(f"{path}:stop")


def _deployment_failed(client: Client, model: Json, deployment: Json) -> CommandFailed:
    name, number = full_name(model), deployment["deployment_number"]
    advice = f"see {suggested('logs', name)} and {suggested('deployment ls', name)}"
    if client.get(model_path(model))["status"] == "deployed":
        advice = f"the previous deployment still serves; {advice}"
    happened = "failed" if deployment["status"] == "failed" else "was stopped before it was ready"
    return _failed(f"deployment {number} of {name!r} {happened}", deployment["failure"], advice)


def _failed(sentence: str, failure: Json | None, advice: str) -> CommandFailed:
    if not failure:
        return CommandFailed(sentence, advice, Exit.FAILED)
    step = f" at {title(failure['step'])}" if failure["step"] else ""
    known = left_out_hint(Path.cwd(), failure["problem"]) or failure["advice"]
    reason = f"{sentence}{step}: {reason_of(failure)}"
    return CommandFailed(reason, sentences(known, advice), Exit.FAILED)


def reason_of(failure: Json) -> str:
    """What failed and what was found, without the advice."""
    return "\n".join(filter(None, (failure["summary"], failure["problem"])))


def reason_line(failure: Json) -> str:
    """`reason_of` on one line: a problem may have several."""
    return ": ".join(filter(None, reason_of(failure).splitlines()))


class PrintedSteps:
    """Prints each step of a build once, when it has ended."""

    def __init__(self, say: Callable[[str], None], style: Style) -> None:
        self._say = say
        self._colours = {"done": style.good, "failed": style.bad}
        self._printed = set[str]()

    def show(self, steps: list[Json]) -> None:
        """Prints the steps that have ended."""
        for step in steps:
            state = step["state"]
            if state in MARKS and step["name"] not in self._printed:
                self._printed.add(step["name"])
                seconds = "" if step["seconds"] is None else f"  {step['seconds']:.1f} s"
                mark = self._colours[state](MARKS[state])
                self._say(f"{mark} {title(step['name'])}{seconds}")

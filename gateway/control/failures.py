"""What went wrong with a build, a deployment or an experiment, and what to do about it.

A `Failure` is read by the author of the model or script, or by the operator: summary, problem,
advice.
"""

from collections.abc import Iterable

import msgspec

import builder
from gateway.control.failure_causes import CORRECT, remedy
from gateway.control.resources import NotEnoughMemory
from gateway.control.source_files import SourceFiles
from gateway.encryption import CannotDecrypt
from store import Build, Failure
from workers import Ended, Line, Pool, ProbeRaised, StartFailed
from workers.kernel_limits import explain
from workers.limits import Cause
from workers.shortages import is_shortage

_REPORT = "This is a bug of predictd. Its own log has the traceback."

BUILD_INTERRUPTED = Failure(
    step="",
    summary="The build was interrupted",
    problem="the gateway ended while the build was being made",
    advice="Build again.",
)
RUN_INTERRUPTED = Failure(
    step="RUN",
    summary="The gateway ended",
    problem="the gateway ended while the script ran, and ended the script",
    advice="Run the experiment again.",
)


def build_cancelled(by: str, step: str) -> Failure:
    """A user cancelled the build; `step` is the one that ran, "" for a build that waited."""
    return Failure(
        step=step,
        summary="The build was cancelled",
        problem=f"user {by!r} cancelled it",
        advice="Build again.",
    )


def internal_error(error: Exception) -> Failure:
    """A deployment failed by an error that is not expected, or by a shortage of the machine."""
    if is_shortage(error):
        return _shortage("", error)
    return Failure(
        step="",
        summary="The deployment failed by an internal error",
        problem=f"{type(error).__name__}: {error}",
        advice=_REPORT,
    )


def unreadable(error: CannotDecrypt) -> Failure:
    """Nothing runs without its variables: they may name the database that it uses."""
    return Failure(
        step="",
        summary="The variables cannot be decrypted",
        problem=str(error),
        advice="Have a site administrator put secret.key back, or set the variables again.",
    )


def build_error(step: str, error: Exception) -> Failure:
    """A step of a build raised `error`."""
    match error:
        case builder.BuilderError(summary=summary, problem=problem, advice=advice):
            return Failure(step=step, summary=summary, problem=problem, advice=advice)
        case _ if is_shortage(error):
            return _shortage(step, error)
        case OSError():
            summary = "The project's files could not be read or stored"
            advice = "Make the files readable for predictd, and free space on its disk."
        case _:
            summary, advice = "The build failed by an internal error", _REPORT
    return Failure(step=step, summary=summary, problem=str(error), advice=advice)


def of_report(failure: builder.BuildFailure) -> Failure:
    """The failure of a step, as the builder reports it."""
    return msgspec.convert(failure, Failure, from_attributes=True)


def _shortage(step: str, error: Exception) -> Failure:
    """The machine had no descriptor, process, thread or memory left."""
    return Failure(
        step=step,
        summary="The machine is at one of its limits",
        problem=explain(error),
        advice="Try again. `predictd doctor` shows the operator the limits and their use.",
    )


def build_failed(build: Build) -> Failure:
    """A deployment has no build to serve."""
    why = build.failure
    happened = "was cancelled" if build.cancelled_by else "did not succeed"
    return Failure(
        step="BUILD",
        summary=f"Build {build.number} {happened}",
        problem=f"{why.summary}: {why.problem}" if why else build.status,
        advice=why.advice if why else "Build again.",
    )


class InterpreterGone(Exception):
    """A build cannot be rebuilt: this machine has no interpreter of its version."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


def given_up(error: CannotDecrypt | InterpreterGone) -> Failure:
    """A deployment cannot be served, and a retry would not help."""
    return unreadable(error) if isinstance(error, CannotDecrypt) else error.failure


def interpreter_gone(build: Build, manifest: builder.Manifest, error: Exception) -> Failure:
    """The machine has no interpreter to rebuild the build with."""
    version = manifest.version.rpartition(".")[0]
    name = "R" if manifest.language == "r" else "Python"
    needed = "the package jsonlite" if manifest.language == "r" else "its venv module"
    return Failure(
        step="ENVIRONMENT",
        summary=f"{name} {manifest.version}, which build {build.number} needs, is gone",
        problem=f"{manifest.interpreter} cannot be run, and this machine has no {name} {version}: "
        f"{error}",
        advice=f"Install {name} {version} with {needed} and deploy the build again, or make a new "
        f"build for another {name} (`--kernel`).",
    )


def out_of_memory(error: NotEnoughMemory) -> Failure:
    """A deployment does not fit beside what runs now."""
    return Failure(
        step="START",
        summary="The machine has too little free memory for the model",
        problem=str(error),
        advice="Stop another model, or ask for less memory, and deploy again.",
    )


def session_out_of_memory(error: NotEnoughMemory) -> Failure:
    """A session does not fit beside what runs now."""
    return Failure(
        step="START",
        summary="The machine has too little free memory for the session",
        problem=str(error),
        advice="Wait for an experiment to end, stop a model, or end another session.",
    )


def session_without_gpu(problem: str) -> Failure:
    """All GPUs are reserved."""
    return Failure(
        step="START",
        summary="No GPU is free for the session",
        problem=problem,
        advice="Stop a model or experiment with GPUs, or open the session without.",
    )


# What to do about a start or a probe that met a limit.
_ADVICE = {
    Cause.MEMORY: "Ask for more memory (`--memory`), or have the model load less.",
    Cause.CPU: "Ask for more CPU (`--cpu`), or raise `model_start_timeout`.",
    Cause.PROCESSES: "Have the model start fewer processes and threads, or raise `max_processes`.",
    Cause.DISK: "Have the model write less, or raise `max_disk`.",
}
_ADVICE_FOR_SCRIPTS = {
    Cause.MEMORY: "Ask for more memory (`predictd experiment run --memory`), or load less.",
    Cause.PROCESSES: "Have the script start fewer processes, or raise `max_processes`.",
    Cause.DISK: "Have the script write less, or raise `max_disk`.",
}


_CORRECT_EXAMPLE = "Correct the function or the example. The end of the build log shows why."


def start_failed(error: StartFailed, pool: Pool, source: SourceFiles) -> Failure:
    """The replicas of a deployment did not start. Quotes what they printed last."""
    detail = "\n".join(line.text for line in pool.tail(10)) or error.detail
    return Failure(
        step="START",
        summary="The model did not start",
        problem=f"{error.summary}\n\n{detail}".strip(),
        advice=_ADVICE[error.cause] if error.cause else remedy(error.summary, error.detail, source),
    )


def probe_failed(error: StartFailed | ProbeRaised, source: SourceFiles) -> builder.ProbeFailed:
    """The replica of a probe did not start, or did not answer the example."""
    if isinstance(error, StartFailed):
        summary, problem = "The model did not start", error.summary
        advice = remedy(error.summary, error.detail, source)
    else:
        summary, problem = "The model did not answer its example input", str(error)
        found = remedy(problem, "", source)
        advice = found if found != CORRECT else _CORRECT_EXAMPLE
    if error.cause is Cause.MEMORY:
        advice = (
            "Ask for more memory when you deploy the model (`predictd deploy --memory`): the probe "
            "then has as much. Or have the model load less."
        )
    elif error.cause is not None:
        advice = _ADVICE[error.cause]
    return builder.ProbeFailed(summary, problem, advice)


def run_failed(error: Exception) -> Failure:
    """An experiment raised `error` outside of its script."""
    match error:
        case builder.BuilderError(summary=summary, problem=problem, advice=advice):
            return Failure(step="SNAPSHOT", summary=summary, problem=problem, advice=advice)
        case _ if is_shortage(error):
            return _shortage("", error)
        case OSError():
            summary = "The experiment failed by an error of the machine"
            advice = "Ask the operator: `predictd doctor` shows the state of the disk."
        case _:
            summary, advice = "The experiment failed by an internal error", _REPORT
    return Failure(step="", summary=summary, problem=str(error), advice=advice)


_MAY_LISTEN = (
    "Have the script listen on a free TCP port (port 0). To listen on other ports, run it with "
    "`predictd experiment run --network listen`."
)


def script_failed(ended: Ended, printed: Iterable[Line], source: SourceFiles) -> Failure:
    """The script did not succeed. What it printed last is the problem."""
    last = [line.text for line in printed if line.text.strip()]
    return Failure(
        step="RUN",
        summary=f"The script {ended.reason.text}",
        problem=builder.last_said(last) or "it printed nothing",
        advice=_script_advice(ended.reason.cause, last, source),
    )


def _script_advice(cause: Cause | None, last: list[str], source: SourceFiles) -> str:
    if cause:
        return _ADVICE_FOR_SCRIPTS.get(cause, "")
    if last and "Permission denied" in last[-1] and any("bind" in line for line in last):
        return _MAY_LISTEN
    return _script_remedy(last, source)


def _script_remedy(last: list[str], source: SourceFiles) -> str:
    found = remedy(last[-1], "\n".join(last), source) if last else CORRECT
    return found if found != CORRECT else "Correct the script. Its log has the full traceback."

"""Why a deployment does not serve, or a script failed, in words for whoever can mend it."""

from collections.abc import Iterable

import msgspec

import builder
from gateway.control.failure_causes import CORRECT, SourceFiles, remedy
from gateway.control.resources import NotEnoughMemory
from gateway.encryption import CannotDecrypt
from store import Build, Failure
from workers import Ended, Line, Pool, ProbeRaised, StartFailed
from workers.limits import Cause
from workers.process_limits import explain
from workers.shortages import is_shortage


def internal_error(error: Exception) -> Failure:
    """What nobody foresaw, or the machine lacked."""
    if is_shortage(error):
        return _short("", error)
    return Failure(
        step="",
        summary="predictd failed the deployment",
        problem=f"{type(error).__name__}: {error}",
        advice="This is a mistake of predictd; its own log has the traceback.",
    )


def unreadable(error: CannotDecrypt) -> Failure:
    """Without its variables nothing runs: they may name the database that it uses."""
    return Failure(
        step="",
        summary="The variables cannot be decrypted",
        problem=str(error),
        advice="A site administrator can put secret.key back; or set the variables again.",
    )


def build_missing(step: str, error: Exception) -> Failure:
    """What a step of a build raised."""
    match error:
        case builder.BuilderError(summary=summary, problem=problem, advice=advice):
            return Failure(step=step, summary=summary, problem=problem, advice=advice)
        case _ if is_shortage(error):
            return _short(step, error)
        case OSError():
            summary = "The project's files could not be read or stored"
            advice = "Make the files readable for predictd, and room on the disk of its data."
        case _:
            summary = "predictd failed the build"
            advice = "This is a mistake of predictd; its own log has the traceback."
    return Failure(step=step, summary=summary, problem=str(error), advice=advice)


def of_report(failure: builder.BuildFailure) -> Failure:
    """The failure of a step, as the builder reports it."""
    return msgspec.convert(failure, Failure, from_attributes=True)


def _short(step: str, error: Exception) -> Failure:
    """The machine had no descriptor, process, thread or memory for it."""
    return Failure(
        step=step,
        summary="The machine has no room for it",
        problem=explain(error),
        advice="Try again; `predictd doctor` shows the operator the limits and their use.",
    )


def build_failed(build: Build) -> Failure:
    """There is nothing to serve."""
    why = build.failure
    return Failure(
        step="BUILD",
        summary=f"Build {build.number} did not succeed",
        problem=f"{why.summary}: {why.problem}" if why else build.status,
        advice=why.advice if why else "Build again.",
    )


class InterpreterGone(Exception):
    """A build cannot be made again on this machine as it is."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


def given_up(error: CannotDecrypt | InterpreterGone) -> Failure:
    """What a deployment needs is not to be had."""
    return unreadable(error) if isinstance(error, CannotDecrypt) else error.failure


def interpreter_gone(build: Build, manifest: builder.Manifest, error: Exception) -> Failure:
    """Nothing of its version is there to make the build again with."""
    version = manifest.version.rpartition(".")[0]
    return Failure(
        step="ENVIRONMENT",
        summary=f"Python {manifest.version}, for which build {build.number} was made, is gone",
        problem=f"{manifest.interpreter} cannot be run, and this machine has no Python {version}: "
        f"{error}",
        advice=f"Install Python {version} with its venv module and deploy the build again, or make "
        "a new build for another Python (`--kernel`).",
    )


def out_of_memory(error: NotEnoughMemory) -> Failure:
    """Not beside what runs now."""
    return Failure(
        step="START",
        summary="The machine has no room for the model",
        problem=str(error),
        advice="Stop another model, or ask for less memory, and deploy again.",
    )


# What to do about a start or a try that failed because of a limit.
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


_CORRECT_EXAMPLE = "Correct the function or the example; see the build log's end."


def start_failed(error: StartFailed, pool: Pool, source: SourceFiles) -> Failure:
    """With what the model printed last."""
    detail = "\n".join(line.text for line in pool.tail(10)) or error.detail
    return Failure(
        step="START",
        summary="The model did not start",
        problem=f"{error.summary}\n\n{detail}".strip(),
        advice=_ADVICE[error.cause] if error.cause else remedy(error.summary, error.detail, source),
    )


def probe_failed(error: StartFailed | ProbeRaised, source: SourceFiles) -> builder.ProbeFailed:
    """A build was tried out with what its model's replicas get."""
    if isinstance(error, StartFailed):
        summary, problem = "The model did not start", error.summary
        advice = remedy(error.summary, error.detail, source)
    else:
        summary, problem = "The model did not answer its example input", str(error)
        told = remedy(problem, "", source)
        advice = told if told != CORRECT else _CORRECT_EXAMPLE
    if error.cause is Cause.MEMORY:
        advice = (
            "Ask for more memory when you deploy it (`predictd deploy --memory`), which the build "
            "is then tried out with, or have the model load less."
        )
    elif error.cause is not None:
        advice = _ADVICE[error.cause]
    return builder.ProbeFailed(summary, problem, advice)


def run_failed(error: Exception) -> Failure:
    """What came before an experiment's script, or in its stead."""
    match error:
        case builder.BuilderError(summary=summary, problem=problem, advice=advice):
            return Failure(step="SNAPSHOT", summary=summary, problem=problem, advice=advice)
        case _ if is_shortage(error):
            return _short("", error)
        case OSError():
            summary = "The machine failed the experiment"
            advice = "This is for the operator: `predictd doctor` shows the state of the disk."
        case _:
            summary = "predictd failed the experiment"
            advice = "This is a mistake of predictd; its own log has the traceback."
    return Failure(step="", summary=summary, problem=str(error), advice=advice)


_MAY_LISTEN = (
    "A script may listen on a free TCP port, which port 0 gives; to listen on others it needs "
    "`predictd experiment run --network listen`."
)


def script_failed(ended: Ended, printed: Iterable[Line], source: SourceFiles) -> Failure:
    """It ended otherwise than well; what it printed last says why."""
    last = [line.text for line in printed if line.text.strip()]
    cause = ended.reason.cause
    refused = bool(last) and "Permission denied" in last[-1] and any("bind" in x for x in last)
    return Failure(
        step="RUN",
        summary=f"The script {ended.reason.text}",
        problem=last[-1] if last else "it printed nothing",
        advice=_ADVICE_FOR_SCRIPTS.get(cause, "")
        if cause
        else _MAY_LISTEN
        if refused
        else _for_script(last, source),
    )


def _for_script(last: list[str], source: SourceFiles) -> str:
    told = remedy(last[-1], "\n".join(last), source) if last else CORRECT
    return told if told != CORRECT else "Correct the script; its log has the rest."

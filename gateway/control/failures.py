"""Why a deployment does not serve, in words for whoever can mend it."""

from gateway.control.machine import NotEnoughMemory
from store import Build, Failure
from workers import Pool, StartFailed
from workers.limits import Cause


def our_mistake(error: Exception) -> Failure:
    """What nobody foresaw."""
    return Failure(
        step="",
        summary="predictd failed the deployment",
        problem=f"{type(error).__name__}: {error}",
        advice="This is a mistake of predictd; its own log has the traceback.",
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


def no_room(error: NotEnoughMemory) -> Failure:
    """Not beside what runs now."""
    return Failure(
        step="START",
        summary="The machine has no room for the model",
        problem=str(error),
        advice="Stop another model, or ask for less memory, and deploy again.",
    )


# What to do about a start that failed because of a limit.
_ADVICE = {
    Cause.MEMORY: "Ask for more memory (`--memory`), or have the model load less.",
    Cause.CPU: "Ask for more CPU (`--cpu`), or raise `model_start_timeout`.",
    Cause.PROCESSES: "Have the model start fewer processes and threads, or raise `processes`.",
    Cause.DISK: "Have the model write less, or raise `disk_limit`.",
}


def not_started(error: StartFailed, pool: Pool) -> Failure:
    """With what the model printed last."""
    detail = "\n".join(line.text for line in pool.tail(10)) or error.detail
    return Failure(
        step="START",
        summary="The model did not start",
        problem=f"{error.summary}\n\n{detail}".strip(),
        advice=_ADVICE[error.cause]
        if error.cause
        else "Correct the file and deploy a new build; `predictd logs` shows all it printed.",
    )

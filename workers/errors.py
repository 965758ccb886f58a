"""What can go wrong in the workers, by who must act. The gateway's catalogue gives them codes."""

from workers.limits import Cause


class WorkersError(Exception):
    """Base of the errors of the workers."""


class WireError(WorkersError):
    """A replica wrote bytes that are not a frame; the conversation is over."""


class IllegalTransition(WorkersError):
    """An event that this state of a replica does not allow: a mistake of ours."""


class StartFailed(WorkersError):
    """A replica did not become ready. The model's author must act.

    `summary` is one line, `detail` the traceback or the last lines of its log, `cause` the limit
    that it met, if it was one.
    """

    def __init__(self, summary: str, detail: str = "", cause: Cause | None = None) -> None:
        super().__init__(summary)
        self.summary = summary
        self.detail = detail
        self.cause = cause


class ProbeRaised(WorkersError):
    """The example input given with a build did not get an answer. The model's author must act.

    `cause` is the limit that was met, if one was.
    """

    def __init__(self, problem: str, cause: Cause | None = None) -> None:
        super().__init__(problem)
        self.cause = cause

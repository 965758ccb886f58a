"""Which metric records a query asks for: those of a model, a build or a deployment, in a window."""

import re

from gateway.admin.routing.parameters import text, whole_number
from gateway.control import Control
from gateway.control.metrics.measurements import LAST_MS
from gateway.control.metrics.windows import MetricTarget, Noun, Window
from gateway.control.records import NotFound
from gateway.errors import Refusal
from gateway.identity.principal import is_allowed

NOUNS: dict[str, Noun] = {
    "model_deployment_crn": "deployment",
    "model_build_crn": "build",
    "model_crn": "model",
}
# The parameters that `MetricWindows.window` reads.
WINDOW = (*NOUNS, "start_timestamp_ms", "end_timestamp_ms")


class MetricWindows:
    """Reads windows from queries, for users who may view the project of their model."""

    def __init__(self, control: Control) -> None:
        self._metrics = control.metrics
        self._accounts = control.accounts

    async def target(self, noun: Noun, name: str) -> MetricTarget:
        """Raises NotFound also for a target that the user may not view."""
        found = await self._metrics.subject(noun, name)
        if not is_allowed(self._accounts, "project.view", found.project_id):
            raise NotFound(noun, name)
        return found

    async def window(self) -> Window:
        named = [(name, text(name)) for name in NOUNS if text(name)]
        if len(named) != 1:
            raise Refusal("argument.invalid", f"the query has not one of {', '.join(NOUNS)}")
        [(name, value)] = named
        return Window(
            await self.target(NOUNS[name], value),
            whole_number("start_timestamp_ms", 0, most=LAST_MS),
            whole_number("end_timestamp_ms", LAST_MS, most=LAST_MS),
            _page_token(),
        )


def _page_token() -> tuple[int, int] | None:
    token = text("page_token")
    if not token:
        return None
    if not (match := re.fullmatch("([0-9]{1,16})-([0-9]{1,18})", token)):
        raise Refusal("argument.invalid", f"page_token: {token[:50]!r} is not a token of a page")
    return int(match[1]), int(match[2])

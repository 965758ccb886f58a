"""[Try]: runs a function on its example in a session, before anything is deployed."""

from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.web.api import url
from gateway.web.model_form import ModelForm, text_of
from gateway.web.routing import PageRequest

_MOST_LINES = 200


class Tried(NamedTuple):
    """What a function has returned, or why it has not. `expected` is whether that is the example
    of an answer; None without one."""

    success: bool
    response: str
    problem: str
    advice: str
    lines: list[str]
    expected: bool | None = None


async def try_function(
    page: PageRequest, project_id: str, typed: ModelForm, show: Callable[[str], None]
) -> Tried:
    """Runs the function once. It waits until the environment is made. `show` gets each line as it
    comes. Raises Refusal."""
    example, wanted = typed.example(), typed.example_output
    sessions = url("projects", project_id, "sessions")
    session = await page.api.post(sessions, {"kind": "function", **typed.tried()})
    path = f"{sessions}{url(session['id'])}"
    lines: list[str] = []
    ready = -1
    answer: dict[str, Any] = {}
    outcome: dict[str, Any] = {}
    async with page.api.events(f"{path}/log") as events:
        async for name, data in events:
            if name == "line":
                lines.append(str(data))
                show(str(data))
            elif name == "ready":
                ready = len(lines)
                answer = await page.api.post(f"{path}:call", {"request": example})
                await page.api.delete(path)  # the log ends with what the call has printed
            elif name == "end":
                outcome = data
    if not answer:
        return _failed(outcome, lines)
    if not answer["success"]:
        return Tried(False, "", answer["problem"], "", lines[-_MOST_LINES:])
    response = answer["response"]
    expected = None if wanted is None else is_expected(response, wanted)
    return Tried(True, text_of(response), "", "", lines[ready:][-_MOST_LINES:], expected)


def _failed(outcome: dict[str, Any], lines: list[str]) -> Tried:
    failure = outcome.get("failure") or {}
    problem = ": ".join(filter(None, (failure.get("summary"), failure.get("problem"))))
    advice = failure.get("advice", "")
    return Tried(False, "", problem or "the session has ended", advice, lines[-_MOST_LINES:])


def is_expected(response: Any, wanted: Any) -> bool:
    """Whether an answer is the example of an answer, or what the function itself has returned is,
    where metrics are enabled for it."""
    own = response.get("prediction") if isinstance(response, dict) else response
    return wanted in (response, own)

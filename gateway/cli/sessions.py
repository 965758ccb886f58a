"""A session of the gateway, as `try` and `shell` use it: opened, followed, ended.

The gateway ends a session when the connection that follows its log ends. So a command that is
killed leaves nothing behind.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.left_out import left_out_hint
from gateway.cli.terminal import printable
from gateway.cli.watch import PrintedSteps, reason_of
from gateway.client import ClientError, Json, ServerSentEvent


class FollowedSession:
    """An open session at `path` of the admin API. `outcome` is how it ended, once it has."""

    def __init__(self, context: Context, project: Json, asked: Json) -> None:
        made = context.client.post(f"/projects/{project['id']}/sessions", asked)
        self.path = f"/projects/{project['id']}/sessions/{made['id']}"
        self.outcome: Json = {}
        self._context = context
        self._events = context.client.events(f"{self.path}/log")
        self._steps = PrintedSteps(context.terminal.say, context.terminal.style)

    def wait_ready(self) -> None:
        """Shows how the environment is made; returns when the session can be used. Raises
        CommandFailed."""
        with self._context.terminal.spinner("environment"):
            for event in self._events:
                if event.name == "ready":
                    return
                self._show(event, dim=True)
        self.check()
        raise CommandFailed("the session ended", "open another one", Exit.FAILED)

    def follow(self) -> None:
        """Shows what is printed until the session ends."""
        for event in self._events:
            self._show(event, dim=False)

    def check(self) -> None:
        """Raises CommandFailed, with the reason, for a session that failed."""
        if failure := self.outcome.get("failure"):
            advice = left_out_hint(Path.cwd(), failure["problem"]) or failure["advice"]
            raise CommandFailed(reason_of(failure), advice, Exit.FAILED)

    def call(self, request: object) -> Json:
        """Calls the function: `success`, `response`, `problem`."""
        return self._context.client.post(f"{self.path}:call", {"request": request})

    def end(self) -> None:
        """Ends it, if it has not ended."""
        if not self.outcome:
            with suppress(ClientError):
                self._context.client.delete(self.path)

    def _show(self, event: ServerSentEvent, *, dim: bool) -> None:
        terminal = self._context.terminal
        if event.name == "line":
            text = printable(event.data)
            terminal.say(terminal.style.dim(text) if dim else text)
        elif event.name == "steps":
            self._steps.show(event.data)
        elif event.name == "end":
            self.outcome = event.data


@contextmanager
def open_session(context: Context, project: Json, asked: Json) -> Iterator[FollowedSession]:
    """A session that is ready; it ends with the block, after all that it printed is shown."""
    session = FollowedSession(context, project, asked)
    try:
        session.wait_ready()
        yield session
    finally:
        session.end()
        session.follow()

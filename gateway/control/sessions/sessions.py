"""All sessions: opened within bounds, found by their creators, ended.

Only the user who opened a session uses it: what it prints may have values that others may not see.
Sessions are in memory only: a gateway that ends has none.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from gateway.background import Tasks
from gateway.control.admission import Admission
from gateway.control.builds.project_checks import check_paths
from gateway.control.deployments.new_deployment import check_deployment
from gateway.control.sandbox import Sandbox
from gateway.control.sessions.new_session import NewSession
from gateway.control.sessions.place import SessionServices, size_of
from gateway.control.sessions.session import WorkSession
from gateway.errors import Refusal
from store import NotFound, Project

MOST_OF_ONE_USER = 4
MOST_OF_ALL = 32


class WorkSessions:
    """Opens, finds and ends sessions."""

    def __init__(
        self,
        services: SessionServices,
        *,
        tasks: Tasks,
        sandbox: Sandbox,
        admission: Admission,
    ) -> None:
        self._services = services
        self._tasks = tasks
        self._sandbox = sandbox
        self._admission = admission
        self._open: dict[str, WorkSession] = {}
        self._closed: set[str] = set()  # projects that are being deleted

    def __len__(self) -> int:
        return len(self._open)

    async def create(self, project: Project, asked: NewSession, creator: str) -> WorkSession:
        """Opens a session, which begins at once. Raises UnknownKernel or Refusal."""
        await self._check(project, asked)
        if project.id in self._closed:
            raise NotFound("project", project.id)
        self._check_number(creator)
        session = WorkSession(self._services, project, creator, asked)
        self._open[session.id] = session
        self._tasks.start(self._run, session)
        return session

    def find(self, project_id: str, session_id: str, user: str) -> WorkSession:
        """A session that is open. Raises Refusal("session.notfound")."""
        session = self._open.get(session_id)
        if session is None or (session.project.id, session.creator) != (project_id, user):
            raise Refusal("session.notfound", f"there is no session {session_id!r}")
        return session

    @property
    def projects(self) -> set[str]:
        """The ids of the projects with a session."""
        return {each.project.id for each in self._open.values()}

    @asynccontextmanager
    async def closed(self, project_id: str) -> AsyncIterator[None]:
        """A block without sessions of a project: those that are open are ended first."""
        self._closed.add(project_id)
        try:
            for session in [each for each in self._open.values() if each.project.id == project_id]:
                session.end()
                await session.ended.wait()
            yield
        finally:
            self._closed.discard(project_id)

    async def _run(self, session: WorkSession) -> None:
        try:
            await session.run()
        finally:
            del self._open[session.id]
            with trio.CancelScope(shield=True):
                await session.remove_log()

    async def _check(self, project: Project, asked: NewSession) -> None:
        if project.creation_status != "success":
            raise Refusal("state.conflict", f"project {project.name!r} is not created yet")
        if asked.kind == "function":
            check_paths(asked)
        if asked.build is None:
            await self._services.catalogue.choose(asked.kernel, project, asked.file)
        elif asked.build.status != "built":
            raise Refusal("state.conflict", f"build {asked.build.number} is not built")
        check_deployment(size_of(asked), most_replicas=1)
        self._services.resources.check(size_of(asked), now=False)
        self._services.gpus.check(asked.nvidia_gpus)
        self._sandbox.check_network(asked.network)
        await self._admission.check(project, "a session")

    def _check_number(self, creator: str) -> None:
        own = [each for each in self._open.values() if each.creator == creator]
        if len(own) >= MOST_OF_ONE_USER:
            raise Refusal("project.busy", f"{creator} has {MOST_OF_ONE_USER} sessions already")
        if len(self._open) >= MOST_OF_ALL:
            raise Refusal("project.busy", f"{MOST_OF_ALL} sessions are open already")

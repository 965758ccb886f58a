"""/: the first page, with the models that the user may view."""

from quart import Response

from gateway.control import Control
from gateway.control.records import Project, User
from gateway.identity.principal import is_allowed
from gateway.web import routing
from gateway.web.home_rows import ProjectRow, model_row, project_row
from gateway.web.routing import PageRequest, PageRouter


class HomePages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._records = control.records
        self._views = control.views
        self._accounts = control.accounts
        self._router = router

    @routing.get("/", "list the models and how to call them")
    async def show(self, page: PageRequest) -> Response:
        rows = [await self._row(each, page.user) for each in await self._visible(page.user)]
        return await self._router.reply("home.html", page.viewer, here="/", projects=rows)

    async def _visible(self, user: User) -> list[Project]:
        """The user's own projects, then the other projects that they may view."""
        seen = await self._records.projects(
            lambda project_id: is_allowed(self._accounts, "project.view", project_id)
        )
        roles = self._accounts.roles_of(user)
        return sorted(seen, key=lambda project: project.id not in roles)

    async def _row(self, project: Project, user: User) -> ProjectRow:
        models = await self._views.models(await self._records.models(project.id))
        owner = self._accounts.owner_of(project.id)
        name = owner.name if owner is not None and owner.id != user.id else ""
        return project_row(project, name, [model_row(view) for view in models])

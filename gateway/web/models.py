"""/: the first page, with the models that one may see."""

import msgspec
from quart import Response

import store
from gateway.control import Control
from gateway.identity.principal import is_allowed
from gateway.web.home import ModelRow, ProjectRow, model_row, project_row
from gateway.web.routing import PageRequest, PageRouter
from store import Model, Project, User


def add_pages(routing: PageRouter, control: Control) -> None:
    context = control.context

    async def home(visit: PageRequest) -> Response:
        rows = [await shown(project, visit.user) for project in await visible(visit.user)]
        return routing.reply("home.html", visit.visitor, here="/", projects=rows)

    async def visible(user: User) -> list[Project]:
        """One's own projects first, then those of others that one may see."""
        seen = [
            project
            for project in await context.database.read(store.projects.list_all)
            if is_allowed(context.accounts, "project.view", project.id)
        ]
        roles = context.accounts.roles_of(user)
        return sorted(seen, key=lambda project: project.id not in roles)

    async def shown(project: Project, user: User) -> ProjectRow:
        models = await context.database.read(store.models.list_all, project.id)
        owner = context.accounts.owner_of(project.id)
        whose = owner.name if owner is not None and owner.id != user.id else ""
        return project_row(project, whose, [await row(model) for model in models])

    async def row(model: Model) -> ModelRow:
        current = await context.database.read(store.deployments.current, model.id)
        pool = control.deployments.pool(current.id) if current else None
        example = await context.database.read(store.builds.example, model.id)
        return model_row(
            model,
            current,
            control.deployments.state(current) if current else "",
            pool.statistics() if pool else None,
            context.endpoints.key_of(model),
            f"{context.urls.public}/model",
            msgspec.json.decode(example) if example else {},
        )

    routing.add("GET", "/", "the models one may see, and how to call them", home)

"""/projects/.../variables and /site/variables: variables set and removed one by one.

`PATCH /projects/<id>` replaces `environment` as a whole, as CDSW clients expect. Here two clients
that set different variables at once keep both. The values of secrets and of all site variables are
never in a reply.
"""

from typing import Any

import msgspec

from gateway.admin.lookup import Lookup
from gateway.admin.routing import route
from gateway.admin.schemas import Json, Variables
from gateway.control import Control, user_variables
from gateway.control.audit.audit_log import annotate
from gateway.control.records import Deployment, Project
from gateway.control.user_variables import VariableChanges, named_changes

PROJECT = "/projects/<project_id>/variables"
SITE = "/site/variables"


class ChangeVariables(msgspec.Struct, kw_only=True):
    """`environment` and `secrets` are added or replaced, `remove` names what is removed."""

    environment: Variables = {}
    secrets: Variables = {}
    remove: list[str] = []


class ChangeSiteVariables(msgspec.Struct, kw_only=True):
    """All variables of the site are secrets."""

    secrets: Variables = {}
    remove: list[str] = []


class VariableRoutes:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._lookup = Lookup(control)
        self._records = control.records
        self._settings = control.settings

    @route.get(
        PROJECT,
        "project.edit",
        "list the variables of a project, and the deployments that have them",
    )
    async def show(self, project_id: str) -> Json:
        return await self._of_project(await self._lookup.project(project_id))

    @route.patch(
        PROJECT,
        "project.administer",
        "set and remove variables of a project; the others stay",
        audit="project.set_variables",
    )
    async def change(self, project_id: str, body: ChangeVariables) -> Json:
        project = await self._lookup.project(project_id)
        changes = VariableChanges(**msgspec.structs.asdict(body))
        return await self._of_project(await self._control.projects.set_variables(project, changes))

    @route.get(SITE, "site.administer", "list the names of the site's variables")
    async def show_site(self) -> Json:
        return await self._of_site()

    @route.patch(
        SITE,
        "site.administer",
        "set and remove variables of the site; the others stay",
        audit="site.set_variables",
    )
    async def change_site(self, body: ChangeSiteVariables) -> Json:
        changes = VariableChanges(environment=body.secrets, remove=body.remove)
        before = user_variables.Variables(plain=dict(self._settings.current.environment))
        annotate(named_changes(before, changes.applied_to(before)))
        await self._settings.change_variables(changes)
        return await self._of_site()

    async def _of_project(self, project: Project) -> Json:
        shown = self._control.variables.shown(project)
        listed = [{"name": n, "value": v, "secret": False} for n, v in shown.environment.items()]
        listed += [{"name": name, "value": None, "secret": True} for name in shown.secrets]
        return {
            "variables": sorted(listed, key=_name),
            "environment_problem": shown.problem,
            "model_deployments": await self._serving(project),
        }

    async def _of_site(self) -> Json:
        names = sorted(self._settings.current.environment)
        return {
            "variables": [{"name": name, "value": None, "secret": True} for name in names],
            "environment_problem": "",
            "model_deployments": await self._serving(None),
        }

    async def _serving(self, project: Project | None) -> list[Json]:
        """The deployments that have variables of the project (None: of the site), as they were when
        each began."""
        found = []
        for each in await self._records.wanted_deployments():
            if project is None or each.project_id == project.id:
                owner = project or await self._lookup.project(each.project_id)
                model = await self._records.model(each.project_id, each.model_id)
                found.append(_deployment_json(owner, model.name, each))
        return found


def _name(variable: dict[str, Any]) -> str:
    return str(variable["name"])


def _deployment_json(project: Project, model: str, deployment: Deployment) -> Json:
    return {
        "project_name": project.name,
        "model_name": model,
        "deployment_number": deployment.number,
        "status": deployment.status,
    }

"""/projects/.../settings: name, description, visibility, runtime, variables; and its deletion."""

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.api import url
from gateway.web.form_errors import field_errors
from gateway.web.frames import project_frame
from gateway.web.routing import PageRequest, PageRouter, redirect

ONE = "/projects/<project_id>/settings"
_FIELDS = ("name", "description", "visibility", "runtime_identifier")
_DONE = {"saved": "The settings are saved.", "variables": "The variables are changed."}
_LARGEST_VALUE = 256 * 1024


class ProjectSettingPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(ONE, "show the settings of a project", needs="project.administer")
    async def show(self, page: PageRequest, project_id: str) -> Response:
        return await self._page(page, project_id)

    @routing.post(
        ONE,
        "change a project",
        audit="project.update",
        needs="project.administer",
        max_form=64 * 1024,
    )
    async def save(self, page: PageRequest, project_id: str) -> Response:
        body = {name: page.form[name] for name in _FIELDS if name in page.form}
        try:
            await page.api.patch(url("projects", project_id), body)
        except Refusal as refused:
            return await self._page(page, project_id, refused)
        return redirect(f"{url('projects', project_id, 'settings')}?done=saved")

    @routing.post(
        f"{ONE}/variables",
        "set or remove a variable of a project",
        audit="project.set_variables",
        needs="project.administer",
        max_form=_LARGEST_VALUE,
    )
    async def set_variable(self, page: PageRequest, project_id: str) -> Response:
        name, value = page.form.get("variable", "").strip(), page.form.get("value", "")
        kind = "secrets" if page.form.get("secret") else "environment"
        value = value.replace("\r\n", "\n")
        body = {"remove": [name]} if page.form.get("remove") else {kind: {name: value}}
        try:
            await page.api.patch(url("projects", project_id, "variables"), body)
        except Refusal as refused:
            return await self._page(page, project_id, refused)
        return redirect(f"{url('projects', project_id, 'settings')}?done=variables")

    @routing.post(
        f"{ONE}/delete",
        "delete a project and its models",
        audit="project.delete",
        needs="project.own",
    )
    async def delete(self, page: PageRequest, project_id: str) -> Response:
        frame = await project_frame(page, project_id)
        try:
            if page.form.get("confirmed") != frame["project"]["name"]:
                text = "the name that was typed is not that of the project"
                raise Refusal("argument.invalid", text)
            await page.api.delete(url("projects", project_id))
        except Refusal as refused:
            return await self._page(page, project_id, refused)
        return redirect("/projects?done=deleted")

    async def _page(
        self, page: PageRequest, project_id: str, refused: Refusal | None = None
    ) -> Response:
        frame = await project_frame(page, project_id)
        runtimes = await page.api.items("/runtimes", "runtimes")
        names = [each["runtime_identifier"] for each in runtimes]
        project = frame["project"]
        return await self._router.reply(
            "projects/settings.html",
            page.viewer,
            refused=refused,
            **frame,
            tab=url("projects", project_id, "settings"),
            given={name: page.form.get(name, project[name]) for name in _FIELDS},
            errors=field_errors(refused, _FIELDS),
            runtimes=[("", "The site's default"), *((name, name) for name in names)],
            variables=await page.api.get(url("projects", project_id, "variables")),
            typed=page.form.get("variable", "") if refused else "",
            done=_DONE.get(page.query.get("done", ""), ""),
        )

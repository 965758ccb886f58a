"""/projects: the list of projects, a new one, and the overview of one."""

from collections.abc import Mapping
from typing import Any

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.api import url
from gateway.web.form_errors import field_errors
from gateway.web.frames import project_frame
from gateway.web.listing import Column, Listing
from gateway.web.routing import PageRequest, PageRouter, redirect
from gateway.web.states import model_state, state_of

MANY = "/projects"
NEW = f"{MANY}/new"
ONE = f"{MANY}/<project_id>"
_COLUMNS = (
    Column("Name", "name"),
    Column("Description"),
    Column("Visibility", "visibility"),
    Column("Owner", "owner.username"),
    Column("Updated", "updated_at"),
)
TEMPLATES = (("python", "Python"), ("r", "R"), ("churn", "Python: customer churn"))
_SETUPS = (
    ("blank", "Blank", "An empty folder. Upload your files to it afterwards."),
    ("template", "Template", "Templates include example code to help you get started."),
    ("local", "Local", "A folder on the gateway's machine, used where it is."),
    ("git", "Git", "A copy of a Git repository."),
)
_DEFAULTS = {
    "name": "",
    "description": "",
    "visibility": "private",
    "setup": "blank",
    "template": "python",
    "path": "",
    "git_url": "",
    "git_ref": "",
    "git_key": "",
    "git_host_key": "",
}
_GIT_FIELDS = ("git_url", "git_ref", "git_key", "git_host_key")
# A key and a host key of 16 KiB each, quoted.
_LARGEST_FORM = 64 * 1024
# How much of each list the overview shows.
_MOST_MODELS, _MOST_RUNS, _MOST_FILES = 10, 5, 8
_REFRESH = 2.0  # seconds; replicas become ready without a change in the database


class ProjectPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(MANY, "list the projects")
    async def index(self, page: PageRequest) -> Response:
        listing = Listing(page.query)
        found = await page.api.get(MANY, **listing.parameters)
        return await self._router.reply(
            "projects/index.html",
            page.viewer,
            here=MANY,
            columns=_COLUMNS,
            listing=listing.shown(found),
            projects=found["projects"],
            deleted=page.query.get("done") == "deleted",
        )

    @routing.get(NEW, "show the form of a new project")
    async def new(self, page: PageRequest) -> Response:
        setup = page.query.get("setup", "")
        known = setup in (name for name, *_ in _SETUPS)
        return await self._form(page, _DEFAULTS | ({"setup": setup} if known else {}))

    @routing.post(NEW, "create a project", audit="project.create", max_form=_LARGEST_FORM)
    async def create(self, page: PageRequest) -> Response:
        given = {name: page.form.get(name, value) for name, value in _DEFAULTS.items()}
        try:
            project = await page.api.post(MANY, asked_project(given))
        except Refusal as refused:
            return await self._form(page, given, refused)
        return redirect(url("projects", project["id"]))

    async def _form(
        self, page: PageRequest, given: Mapping[str, str], refused: Refusal | None = None
    ) -> Response:
        setups = [each for each in _SETUPS if each[0] != "local" or page.user.administrator]
        return await self._router.reply(
            "projects/new.html",
            page.viewer,
            refused=refused,
            here=MANY,
            given=given,
            errors=field_errors(refused, _DEFAULTS),
            setups=setups,
            templates=TEMPLATES,
        )

    @routing.get(ONE, "show a project")
    async def show(self, page: PageRequest, project_id: str) -> Response:
        frame = await project_frame(page, project_id)
        base = url("projects", project_id)
        models = await page.api.get(f"{base}/models", page_size=_MOST_MODELS, sort="-updated_at")
        runs = await page.api.get(
            f"{base}/experiments", page_size=_MOST_RUNS, sort="-experiment_number"
        )
        team = await page.api.items(f"{base}/collaborators", "collaborators")
        return await self._router.reply(
            "projects/show.html",
            page.viewer,
            **frame,
            models=[(model, model_state(model)) for model in models["models"]],
            more_models=bool(models["next_page_token"]),
            runs=[(run, state_of(run["status"])) for run in runs["experiments"]],
            team=team,
            **await _first_files(page, frame["project"]),
            refresh=_REFRESH,
        )


def asked_project(given: Mapping[str, str]) -> dict[str, Any]:
    """The body of the API's request for what the form says. Fields of other setups are left out."""
    setup = given["setup"]
    asked = {name: given[name] for name in ("description", "visibility")}
    asked["name"] = given["name"].strip()
    asked["template"] = given["template"] if setup == "template" else setup
    if setup == "local":
        asked["path"] = given["path"].strip()
        if not asked["path"]:
            raise Refusal("argument.invalid", "path: give a folder on the gateway's machine")
    if setup == "git":
        # Keys end with a line break, which a form sends as two characters.
        asked |= {name: given[name].replace("\r\n", "\n") for name in _GIT_FIELDS}
        asked["git_url"] = asked["git_url"].strip()
        if not asked["git_url"]:
            raise Refusal("argument.invalid", "git_url: give the address of a repository")
    return asked


async def _first_files(page: PageRequest, project: Mapping[str, Any]) -> dict[str, Any]:
    """The first files of the project's folder. It may be missing: a linked one can be moved."""
    if project["creation_status"] != "success":
        return {"files": [], "more_files": False, "files_problem": "", "has_no_code": True}
    path = url("projects", project["id"], "files")
    try:
        found = await page.api.get(path, page_size=_MOST_FILES)
    except Refusal as refused:
        problem = refused.message
        return {"files": [], "more_files": False, "files_problem": problem, "has_no_code": False}
    return {
        "files": found["files"],
        "more_files": bool(found["next_page_token"]),
        "files_problem": "",
        # A blank project: the next step is a file, not a model.
        "has_no_code": all(each["path"].startswith(".") for each in found["files"]),
    }

"""Every route of the admin API with every kind of credential, held against a table.

The table is written out by hand and the routes are those of the application's own URL map, so a
route that is added has to be given its row: whether the key of a model or a run opens it is decided
there, and not by the permission that it happens to share with another route.

What is asked for does nothing: all handlers are replaced, so that an answer says that the request
came as far as that. What roles may do is in test_roles; what handlers refuse, with each noun.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import trio
from quart_trio import QuartTrio

from gateway import app, serving
from gateway.admin.route_table import admin_routes
from gateway.admin.routing.route import AdminRoute
from gateway.control import Control
from gateway.control.accounts.keys import NewKey
from gateway.control.accounts.sign_in import Browser
from gateway.control.accounts.users import NewUser
from gateway.control.projects.models import NewModel
from gateway.control.projects.new_project import NewProject
from gateway.errors import API_PREFIX
from gateway.http.context import ConnectionStats
from gateway.http.host_check import AllowedHosts
from gateway.identity.grants import Principal
from gateway.identity.keys import new_key
from gateway.identity.permissions import WorkloadKind
from gateway.web.csrf import TOKEN_HEADER, form_token
from store import Key, KeyKind, Project, User
from tests.support.gateway import Gateway, running, settings_for

P, U = "/projects/<project_id>", "/users/<username>"
M, X = f"{P}/models/<model_id>", f"{P}/experiments/<experiment_id>"
S = f"{P}/sessions/<session_id>"
B = f"{M}/builds/<build_id>"
D = f"{B}/deployments/<deployment_id>"
# Each route once, below the one who may the least: the key of a model may the first, that of a run
# the first two, users with a session or a key of their own the first three. All of it in the own
# project or about themselves; elsewhere they may nothing.
ROUTES = {
    "model": f"""
        GET    /projects
        GET    {P}
        GET    {P}/collaborators
        GET    {P}/files
        GET    {P}/files/<path:path>
        GET    {P}/files/<path:path>:text
        GET    /models
        GET    {P}/models
        GET    {M}
        GET    {M}/deployments
        GET    {M}/replicas
        GET    {M}/logs
        GET    {M}/history
        GET    {M}/requests
        GET    {M}/builds
        GET    {B}
        GET    {B}/log
        GET    {B}/lock
        GET    {B}/diff/<other_build_id>
        GET    {B}/diff/<other_build_id>/text/<path:path>
        GET    {B}/deployments
        GET    {D}
        GET    /experiments
        GET    {P}/experiments
        GET    {P}/experiments:compare
        GET    {X}
        GET    {X}/log
        GET    {X}/metrics
        GET    {X}/files
        GET    {X}/files/<path:path>
        GET    {X}/text/<path:path>
        GET    /metrics
        GET    /metrics/latest
        GET    /metrics/export
        GET    /metrics/summary
        GET    /metrics/series
        GET    /metrics/pairs
        POST   /metrics/delayed
        POST   /metrics/aggregate
        GET    /whoami
        GET    /runtimes
        GET    /runtimes/<runtime_identifier>
    """,
    "run": f"""
        GET    {P}/variables
        PUT    {P}/files
        POST   {P}/files:compare
        PUT    {P}/files:sync
        DELETE {P}/files/<path:path>
        PUT    {P}/files/<path:path>:text
        POST   {P}/files/<path:path>:make_folder
        POST   {P}/files/<path:path>:move
        GET    {P}/functions
        POST   {P}/models
        PATCH  {M}
        DELETE {M}
        POST   {M}:regenerate_key
        POST   {M}:stop
        POST   {M}/builds
        DELETE {B}
        POST   {B}:cancel
        POST   {B}/deployments
        POST   {D}:stop
        POST   {D}:restart
        POST   {P}:check
        POST   {P}/sessions
        GET    {S}/log
        GET    {S}/terminal
        POST   {S}:call
        POST   {S}:type
        DELETE {S}
        POST   {P}/experiments
        DELETE {X}
        POST   {X}:stop
        POST   {X}:add_to_project
    """,
    "user": f"""
        POST   /projects
        PATCH  {P}
        PATCH  {P}/variables
        DELETE {P}
        PUT    {P}/collaborators/<collaborator>
        DELETE {P}/collaborators/<collaborator>
        GET    {U}
        GET    {U}/activity
        GET    {U}/sessions
        DELETE {U}/sessions/<login_id>
        GET    {U}/v2_keys
        POST   {U}/v2_keys
        DELETE {U}/v2_keys
        DELETE {U}/v2_keys/<key_id>
        GET    {U}/model_keys
        POST   {U}/model_keys
        DELETE {U}/model_keys
        DELETE {U}/model_keys/<key_id>
        GET    {U}/legacy_keys
        POST   {U}/legacy_keys
        DELETE {U}/legacy_keys
        DELETE {U}/legacy_keys/<key_id>
        GET    /site
    """,
    "administrator": f"""
        GET    /users
        POST   /users
        PATCH  {U}
        DELETE {U}
        PUT    {U}/password
        POST   /site/links
        GET    /backup
        GET    /garbage
        DELETE /garbage
        GET    /audit
        POST   /runtimes
        PATCH  /runtimes/<runtime_identifier>
        DELETE /runtimes/<runtime_identifier>
        GET    /runtimes/<runtime_identifier>/log
        GET    /site/findings
        POST   /site/findings:refresh
        GET    /site/models
        GET    /site/settings
        GET    /site/variables
        PATCH  /site/variables
        PATCH  /site/settings
        DELETE /site/settings/<name>
    """,
}
Row = tuple[str, str]
TABLE: dict[Row, str] = {
    (method, path): least
    for least, rows in ROUTES.items()
    for method, path in (row.split() for row in rows.strip().splitlines())
}
# What each may: all that stands below these.
MAY = {
    "a model's key": ("model",),
    "a run's key": ("model", "run"),
    "a session": ("model", "run", "user"),
    "an API key": ("model", "run", "user"),
    "an administrator": tuple(ROUTES),
}
OPEN_NOTHING = ("nothing", "a model's access key", "a Model API key")
REACHED, UNAUTHORIZED = (200, ""), (401, "auth.required")
FORBIDDEN, UNSEEN = (403, "auth.forbidden"), (404, "project.notfound")


async def reached(**_: object) -> dict[str, str]:
    return {"reached": "yes"}


class Stage(NamedTuple):
    """A gateway whose handlers do nothing: its URL map, and the headers of each credential. Ada
    owns the first two projects, Eve the third."""

    gateway: Gateway
    rows: set[Row]
    credentials: dict[str, dict[str, str]]
    projects: list[Project]


@asynccontextmanager
async def staged(data: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    made: list[tuple[QuartTrio, Control]] = []
    make_app = app.make_app

    def without_handlers(control: Control, connections: ConnectionStats) -> list[AdminRoute]:
        return [
            msgspec.structs.replace(route, handler=reached, body=None, audit="")
            for route in admin_routes(control, connections)
        ]

    def kept(control: Control, services: app.Services, hosts: AllowedHosts) -> QuartTrio:
        made.append((make_app(control, services, hosts), control))
        return made[0][0]

    monkeypatch.setattr(app, "admin_routes", without_handlers)
    monkeypatch.setattr(serving, "make_app", kept)
    async with running(settings_for(data)) as gateway:
        [(quart, control)] = made
        rows = {
            (method, rule.rule.removeprefix(API_PREFIX))
            for rule in quart.url_map.iter_rules()
            if rule.rule.startswith(API_PREFIX)
            for method in (rule.methods or set()) - {"HEAD"}
        }
        ada, eve = [(await control.users.create(NewUser(name=n)))[0] for n in ("ada", "eve")]
        projects = [
            await control.projects.create(NewProject(name=name, template="blank"), owner)
            for name, owner in (("own", ada), ("second", ada), ("hers", eve))
        ]
        yield Stage(gateway, rows, await _credentials(control, ada, projects[0]), projects)


async def _credentials(control: Control, ada: User, project: Project) -> dict[str, dict[str, str]]:
    directory, routes = control.accounts, control.endpoints
    token = await control.sign_in.redeem(control.sign_in.new_link(ada), Browser("", ""))
    found = directory.session(token)
    assert found is not None
    asking = Principal(ada, "session", "", session=found[0])
    session = {
        "Cookie": f"predictd_session={token}",
        "Origin": control.urls.public,
        TOKEN_HEADER: form_token(token),
    }

    async def key(kind: KeyKind, user: User = ada) -> dict[str, str]:
        return bearer((await control.keys.create(user, NewKey(kind=kind), asking))[1])

    def workload(kind: WorkloadKind) -> dict[str, str]:
        text = new_key("workload")
        record = Key(id=text.id, kind="workload", user_id=ada.id, digest=text.digest)
        directory.put_workload(record, project.id, kind)
        return bearer(text.text)

    model = await control.models.create(project, NewModel(name="m"), ada)
    root, _ = await control.users.create(NewUser(name="root", administrator=True))
    return {
        "nothing": {},
        "a model's access key": bearer(routes.key_of(model)),
        "a Model API key": await key("model"),
        "a model's key": workload("model"),
        "a run's key": workload("run"),
        "a session": session,
        "an API key": await key("api"),
        "an administrator": await key("api", root),
    }


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def answer(stage: Stage, who: str, row: Row, project: Project, user: str) -> tuple[int, str]:
    """Status and code (none: reached) of what is answered on a route in this project, or about
    this user."""
    names = {"project_id": project.id, "username": user}
    path = re.sub(r"<(?:path:)?(\w+)>", lambda name: names.get(name[1], "x"), row[1])
    headers = stage.credentials[who]
    got = await stage.gateway.models.request(row[0], f"{API_PREFIX}{path}", headers=headers)
    return got.status_code, "" if got.is_success else got.json()["details"][0]["code"]


async def test_each_route_with_each_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every route has its row; each credential opens what the table says, in its own project and
    about its own user; elsewhere, also in another project of the same user, only an administrator's
    opens anything."""
    wrong: list[object] = []

    async def check(stage: Stage, who: str) -> None:
        own, second, hers = stage.projects
        # The key of a model or run is bounded by its project, not by what its user may.
        other = second if who.endswith("'s key") else hers
        for row, least in TABLE.items():
            tries = [(own, "ada")]
            if "<project_id>" in row[1] or "<username>" in row[1]:
                tries.append((other, "eve"))
            for project, user in tries:
                said = expected(who, row, least, own=project is own)
                got = await answer(stage, who, row, project, user)
                if got != said:
                    wrong.append((who, *row, "own" if project is own else "other", said, got))

    async with staged(tmp_path / "data", monkeypatch) as stage:
        assert stage.rows == TABLE.keys()
        async with trio.open_nursery() as nursery:
            for who in stage.credentials:
                nursery.start_soon(check, stage, who)
    assert wrong == []


def expected(who: str, row: Row, least: str, *, own: bool) -> tuple[int, str]:
    if who in OPEN_NOTHING:
        return UNAUTHORIZED
    if (own or who == "an administrator") and least in MAY[who]:
        return REACHED
    return FORBIDDEN if own or "<project_id>" not in row[1] else UNSEEN

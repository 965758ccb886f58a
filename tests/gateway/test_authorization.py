"""Invalid keys, ids of other projects, pages without a session: none gives access.

The routes are those of the gateway, so a new route is tested without further work. What each role
may do is tested in test_roles.
"""

import re
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
from quart_trio import QuartTrio

from gateway import app, serving
from gateway.admin.route_table import ROUTES
from gateway.admin.routing.route import AdminRoute
from gateway.control import Control
from gateway.errors import API_PREFIX
from gateway.http.host_check import AllowedHosts
from gateway.web.site import PAGES
from tests.faults.matrix import fault
from tests.support.gateway import Gateway, Json, copy_of, refusal, running, settings_for, until

# Public routes, besides the pages that are declared public.
PUBLIC = {"/livez", "/readyz", "/healthz", "/openapi.json", "/static/<name>"}
# Changes that every user may make: a project becomes theirs.
FOR_EVERYBODY = [("POST", "/projects")]


def path_of(route: AdminRoute, **names: str) -> str:
    """The path of a route, with `x` for what is not named."""
    filled = re.sub(r"<(?:path:)?(\w+)>", lambda name: names.get(name[1], "x"), route.path)
    return f"{API_PREFIX}{filled}"


def body_for(route: AdminRoute, **fields: str) -> Json | None:
    """The fields that the body of the route has."""
    if route.body is None:
        return None
    known = getattr(route.body, "__struct_fields__", ())
    return {name: value for name, value in fields.items() if name in known}


def bearer(key: Json) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['api_key']}"}


async def keys_that_open_nothing(gateway: Gateway) -> dict[str, dict[str, str]]:
    """The headers of requests, by what is wrong with them, each made from a valid key."""
    for name in ("root", "gone"):
        wish = {"username": name, "password": "correct horse", "administrator": True}
        await gateway.post("/users", wish)
    model, revoked = [await gateway.post(f"/users/root/{k}_keys") for k in ("model", "v2")]
    await gateway.delete(f"/users/root/v2_keys/{revoked['key_id']}")
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    expired = await gateway.post("/users/root/v2_keys", {"expiry_date": soon})
    disabled = await gateway.post("/users/gone/v2_keys")
    await gateway.admin.patch("/users/gone", json={"disabled": True})
    await until(
        lambda: gateway.get("/users/root/v2_keys"), lambda keys: keys["v2_keys"][-1]["expired"]
    )
    right = bearer(await gateway.post("/users/root/v2_keys"))["Authorization"]
    assert (await gateway.models.get("/api/v2/users", headers={"Authorization": right})).is_success
    return {
        "nothing": {},
        "what is no key": {"Authorization": "Bearer x"},
        "a wrong secret": {"Authorization": f"{right[:-1]}{'1' if right[-1] == '0' else '0'}"},
        "an id alone": {"Authorization": right.partition(".")[0]},
        "another scheme": {"Authorization": right.replace("Bearer", "Digest")},
        "Basic that is none": {"Authorization": "Basic eDo="},
        "a cookie that is none": {"Cookie": "predictd_session=x; __Host-predictd_session=x"},
        "a Model API key": bearer(model),
        "a revoked key": bearer(revoked),
        "an expired key": bearer(expired),
        "a key of who is disabled": bearer(disabled),
    }


@fault(
    "what is no key, or one no more",
    injection="eleven kinds of them",
    bound="401 at every route",
)
async def test_invalid_key_is_401_everywhere(gateway: Gateway) -> None:
    """A text that is not a key, an ended key or a key for models only is 401 on every route."""
    for what, headers in (await keys_that_open_nothing(gateway)).items():
        for route in ROUTES:
            answer = await gateway.models.request(
                route.method, path_of(route, username="root"), headers=headers
            )
            assert refusal(answer) == (401, "auth.required"), (what, route.method, route.path)


@fault(
    "ids of another's model",
    injection="under a project of one's own",
    bound="404, and nothing is changed",
)
async def test_ids_do_not_reach_into_other_projects(gateway: Gateway, tmp_path: Path) -> None:
    """The owner of another project has no access to a project by its ids."""
    theirs = await gateway.project(copy_of("add", tmp_path))
    model = await gateway.model(theirs, "add")
    build = await gateway.build(model, "none.py:none")
    (tmp_path / "add" / "fit.py").write_text("pass")
    made = await gateway.post(f"{theirs}/experiments", {"script": "fit.py"})
    kept = await gateway.get(model)
    names = {"model_id": model.rpartition("/")[2], "build_id": build.rpartition("/")[2]}
    await gateway.post("/users", {"username": "eve", "password": "correct horse"})
    eve = bearer(await gateway.post("/users/eve/v2_keys"))
    async with httpx.AsyncClient(base_url=gateway.url, headers=eve, timeout=30) as api:
        wish = {"name": "mine", "template": "blank"}
        mine = (await api.post(f"{API_PREFIX}/projects", json=wish)).json()["id"]
        for route in ROUTES:
            if "<model_id>" in route.path:
                # Enough of a body for those that take one.
                body = body_for(route, file_path="f", function_name="f")
                path = path_of(route, project_id=mine, **names)
                answer = await api.request(route.method, path, json=body)
                assert refusal(answer) == (404, "model.notfound"), (route.method, route.path)
            if "<experiment_id>" in route.path:
                body = body_for(route, path="f")
                path = path_of(route, project_id=mine, experiment_id=made["id"])
                answer = await api.request(route.method, path, json=body)
                assert refusal(answer) == (404, "experiment.notfound"), (route.method, route.path)
    assert await gateway.get(model) == kept


async def test_public_routes_are_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every route outside the admin API is a declared page or is listed here; a page that is not
    public is shown to signed-in users only."""
    apps: list[QuartTrio] = []
    make_app = app.make_app

    def kept(control: Control, services: app.Services, hosts: AllowedHosts) -> QuartTrio:
        apps.append(make_app(control, services, hosts))
        return apps[-1]

    monkeypatch.setattr(serving, "make_app", kept)
    async with running(settings_for(tmp_path / "data")) as gateway:
        rules = {rule.rule for rule in apps[0].url_map.iter_rules()}
        admin = {f"{API_PREFIX}{route.path}" for route in ROUTES}
        assert rules == admin | PUBLIC | {page.path for page in PAGES}
        for page in PAGES:
            if not page.public:
                answer = await gateway.models.request(page.method, page.path)
                away = (HTTPStatus.SEE_OTHER, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
                assert answer.status_code in away, page.path
                assert answer.headers.get("Location", "/sign-in").startswith("/sign-in"), page.path


# A look at files, and the use of a session, whose creation is in the audit log.
NO_CHANGES = (":check", ":compare", ":call", ":type")


def test_view_permission_changes_nothing() -> None:
    """A route that changes something needs more than a sign-in or the right to view, and is
    recorded in the audit log."""
    for route in ROUTES:
        if route.method != "GET":
            about = (route.method, route.path)
            assert route.permission != "project.view", about
            assert route.permission != "user" or about in FOR_EVERYBODY, about
            # What is told of predictions is data, as predictions are, and may be as much.
            looks = route.path.endswith(NO_CHANGES)
            assert route.audit or route.path.startswith("/metrics/") or looks, about

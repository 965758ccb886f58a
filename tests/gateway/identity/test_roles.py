"""Every route of the admin API as every role: each may do exactly what the table says.

The table of roles is repeated here, in the words of a user who grants a role, and compared with the
answers of a real gateway. A request that is refused must be refused before a record is looked up. A
request that is allowed may fail for another reason, since most of the records do not exist.
"""

import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.admin.route_table import ROUTES
from gateway.admin.routing.route import AdminRoute
from gateway.identity.permissions import MEANINGS, Permission
from store import Visibility
from tests.faults.matrix import fault
from tests.gateway.conftest import Samples
from tests.support.gateway import PATIENCE, Json, url_in

SITE, STRANGER = "site administrator", "stranger"
ROLES = ["viewer", "operator", "contributor", "admin", "owner"]
EVERYBODY = [STRANGER, *ROLES, SITE]
# The first role in the list above that may; requests about other users need `SITE`.
FROM: dict[Permission, str] = {
    "any": STRANGER,
    "user": STRANGER,
    "self": STRANGER,
    "project.view": "viewer",
    "model.call": "operator",
    "metrics.add": "operator",
    "model.operate": "operator",
    "project.edit": "contributor",
    "project.administer": "admin",
    "project.own": "owner",
    "site.administer": SITE,
}
# It depends on the key, not on the user: only `admin.key` may, which no user here has.
FOR_THE_ADMIN_KEY = ("POST", "/site/links")
UNAUTHORIZED = (HTTPStatus.UNAUTHORIZED, "auth.required")
FORBIDDEN = (HTTPStatus.FORBIDDEN, "auth.forbidden")
UNSEEN = (HTTPStatus.NOT_FOUND, "project.notfound")


class Stage:
    """A project with a model, a user whose permissions are tested, and another user."""

    def __init__(self, samples: Samples, folder: Path) -> None:
        key = (samples.data / "admin.key").read_text().strip()
        self.url = f"{url_in(samples.data)}/api/v2"
        self.admin = self._client(key)
        for name in ("tested", "else"):
            self.told(self.admin.post("/users", json={"username": name, "password": "x" * 10}))
        self.tested = self._client(self.key("v2"))
        linked = {"name": "tried", "template": "local", "path": str(folder)}
        self.project = self.told(self.admin.post("/projects", json=linked))["id"]
        model = self.admin.post(f"/projects/{self.project}/models", json={"name": "m"})
        self.model = self.told(model)["id"]

    def _client(self, key: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE)

    def key(self, kind: str) -> str:
        return str(self.told(self.admin.post(f"/users/tested/{kind}_keys", json={}))["api_key"])

    def told(self, answer: httpx.Response) -> Json:
        assert answer.status_code == HTTPStatus.OK, answer.text
        return dict(answer.json())

    def stands_as(self, who: str, visibility: Visibility) -> None:
        """Gives the user this role, in a project that is private or public."""
        project = f"/projects/{self.project}"
        self.told(self.admin.patch(project, json={"visibility": visibility}))
        if who == SITE:
            self.told(self.admin.patch("/users/tested", json={"administrator": True}))
        elif who != STRANGER:
            role = {"permission": who}
            self.told(self.admin.put(f"{project}/collaborators/tested", json=role))

    def path(self, route: AdminRoute, about: str) -> str:
        """The route's path with what there is of it; of the rest there is nothing."""
        there = {
            "project_id": self.project,
            "model_id": self.model,
            "username": about,
            "collaborator": "else",
        }
        return re.sub(r"<(?:path:)?(\w+)>", lambda match: there.get(match[1], "none"), route.path)

    def asks(self, route: AdminRoute, about: str = "else", **headers: str) -> tuple[int, str]:
        """Status and code of the answer to the user; the code is empty if it is not refused."""
        body: dict[str, Any] = {} if route.method in ("GET", "DELETE") else {"json": {}}
        path = self.path(route, about)
        with self.tested.stream(route.method, path, headers=headers, **body) as answer:
            if answer.is_success:
                return answer.status_code, ""
            answer.read()
            return answer.status_code, answer.json()["details"][0]["code"]

    def close(self) -> None:
        self.admin.delete(f"/projects/{self.project}")
        for name in ("tested", "else"):
            self.admin.delete(f"/users/{name}")
        self.admin.close()
        self.tested.close()


@pytest.fixture
def stage(samples: Samples, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(samples, tmp_path)
    yield stage
    stage.close()


def walked() -> list[AdminRoute]:
    """All routes; first those that delete nothing, last those that delete the project, or the key
    with which the user authenticates."""
    last = ["/projects/<project_id>", "/users/<username>/v2_keys"]

    def takes(route: AdminRoute) -> tuple[bool, int]:
        deletes = route.method == "DELETE"
        return deletes, last.index(route.path) + 1 if deletes and route.path in last else 0

    return sorted(ROUTES, key=takes)


def expected(
    route: AdminRoute, who: str, visibility: Visibility, *, is_self: bool
) -> tuple[int, str]:
    """What the table says; (0, ""): they may."""

    def may(needs: Permission) -> bool:
        if visibility == "public" and needs in ("project.view", "model.call"):
            return True
        if needs == "self" and not is_self:
            return who == SITE
        return EVERYBODY.index(who) >= EVERYBODY.index(FROM[needs])

    if may(route.permission) and (route.method, route.path) != FOR_THE_ADMIN_KEY:
        return 0, ""
    return UNSEEN if "<project_id>" in route.path and not may("project.view") else FORBIDDEN


@fault(
    "everybody asks for everything",
    injection="every route, as each role, a stranger, an administrator; private and public",
    bound="exactly what the table of permissions says",
)
@pytest.mark.parametrize("visibility", ["private", "public"])
@pytest.mark.parametrize("who", EVERYBODY)
def test_route_permits_exactly_its_roles(stage: Stage, who: str, visibility: Visibility) -> None:
    """Each of them may exactly what the table says, in a private project and in a public one; of
    users, all of it about themselves and, but for site administrators, nothing about others."""
    stage.stands_as(who, visibility)
    wrong = []
    for about in ("else", "tested"):
        for route in walked():
            # The user does not delete themselves; routes without a user were asked already.
            if about == "tested" and route.permission != "self":
                continue
            said = expected(route, who, visibility, is_self=about == "tested")
            status, code = answer = stage.asks(route, about)
            refused = answer in (UNAUTHORIZED, FORBIDDEN, UNSEEN)
            right = answer == said if said[0] else not refused and status < 500
            if not right:
                wrong.append((route.method, stage.path(route, about), said, status, code))
    assert wrong == []


@fault(
    "an owner's other keys",
    injection="a Model API key, none, a disabled owner's",
    bound="401 at every route",
)
def test_request_without_valid_key_is_401(stage: Stage) -> None:
    """Without a key, with a key that only calls models, or once disabled, everything is 401; even
    for an owner."""
    stage.stands_as("owner", "public")
    model_key = {"Authorization": f"Bearer {stage.key('model')}"}
    nothing = {"Authorization": ""}
    for route in walked():
        for headers in (model_key, nothing):
            assert stage.asks(route, "tested", **headers) == UNAUTHORIZED, route.path
    stage.told(stage.admin.patch("/users/tested", json={"disabled": True}))
    for route in walked():
        assert stage.asks(route, "tested") == UNAUTHORIZED, route.path
    assert stage.told(stage.admin.get(f"/projects/{stage.project}"))["id"] == stage.project


def test_the_table_is_whole() -> None:
    """The table above has all permissions, and a route that names a project or a user asks for a
    permission of that kind."""
    assert list(FROM) == list(MEANINGS)
    for route in ROUTES:
        of_project = route.permission.startswith(("project.", "model."))
        assert of_project == ("<project_id>" in route.path), route.path
        if "<username>" in route.path:
            assert route.permission in ("self", "site.administer"), route.path

"""Users over HTTP: what administrators do with them, and what they do with themselves."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.gateway import Gateway, Json, refusal


class Person:
    """A user with an API key: what they send goes out with it."""

    def __init__(self, name: str, api: httpx.AsyncClient) -> None:
        self.name = name
        self.api = api

    async def get(self, path: str) -> Json:
        answer = await self.api.get(path)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


async def person(gateway: Gateway, name: str, **more: object) -> Person:
    """A new user and a client with a new API key of theirs."""
    await gateway.post("/users", {"username": name, "password": "correct horse", **more})
    key = (await gateway.post(f"/users/{name}/v2_keys"))["api_key"]
    api = httpx.AsyncClient(
        base_url=f"{gateway.url}/api/v2", headers={"Authorization": f"Bearer {key}"}, timeout=30
    )
    return Person(name, api)


@pytest.fixture
async def ada(shared: Gateway) -> AsyncIterator[Person]:
    """A user of this test alone."""
    ada = await person(shared, "Ada")
    async with ada.api:
        yield ada
    await shared.delete("/users/Ada")


async def test_user_is_created(shared: Gateway) -> None:
    """Who gets no password of the administrator's gets a random one, told once."""
    made = await shared.post("/users", {"username": "bob.b", "email": "b@example.org"})
    assert len(made.pop("password")) >= 20
    assert made["must_change_password"] is True
    assert made == await shared.get("/users/BOB.B")
    assert made in (await shared.get("/users", page_size=100))["users"]
    assert refusal(await shared.admin.post("/users", json={"username": "Bob.B"})) == (
        409,
        "name.taken",
    )
    await shared.delete("/users/bob.b")
    assert refusal(await shared.admin.get("/users/bob.b")) == (404, "user.notfound")


@pytest.mark.parametrize(
    "asked",
    [
        {"username": ""},
        {"username": "-x"},
        {"username": "a/b"},
        {"username": "ä"},
        {"username": "x" * 65},
        {"username": "x", "password": "too short"},
        {"username": "x", "password": "x" * 1025},
    ],
)
async def test_user_invalid_is_refused(shared: Gateway, asked: Json) -> None:
    """Names fit into a URL; passwords are neither short nor endless; nothing is left behind."""
    assert refusal(await shared.admin.post("/users", json=asked)) == (400, "argument.invalid")
    assert [u["username"] for u in (await shared.get("/users"))["users"]] == ["admin"]


async def test_admin_user_cannot_be_locked_out(shared: Gateway) -> None:
    """The owner of the data folder cannot be locked out."""
    for changes in ({"disabled": True}, {"administrator": False}):
        answer = await shared.admin.patch("/users/admin", json=changes)
        assert refusal(answer) == (409, "state.conflict")
    assert refusal(await shared.admin.delete("/users/admin")) == (409, "state.conflict")
    changed = await shared.admin.patch("/users/admin", json={"name": "Root"})
    assert changed.json()["name"] == "Root"


async def test_user_sees_only_themselves(shared: Gateway, ada: Person) -> None:
    """A user sees and keeps their own keys, and nothing of other users."""
    assert (await ada.get("/whoami"))["by"] == "api key"
    assert (await ada.get("/users/ada"))["username"] == "Ada"
    made = (await ada.api.post("/users/Ada/model_keys", json={})).json()
    assert made["key_id"] in [
        k["key_id"] for k in (await ada.get("/users/Ada/model_keys"))["model_keys"]
    ]
    for answer in (
        await ada.api.get("/users"),
        await ada.api.get("/users/admin"),
        await ada.api.get("/users/admin/v2_keys"),
        await ada.api.post("/users/admin/v2_keys", json={}),
        await ada.api.patch("/users/Ada", json={"administrator": True}),
        await ada.api.get("/users/unknown"),
    ):
        assert refusal(answer) == (403, "auth.forbidden")


async def test_disabled_user_loses_access_at_once(shared: Gateway, ada: Person) -> None:
    """A disabled user's key opens nothing from the answer on; enabled again it does."""
    for disabled in (True, False):
        await shared.admin.patch("/users/Ada", json={"disabled": disabled})
        assert (await ada.api.get("/whoami")).status_code == (401 if disabled else 200)


async def test_owner_of_projects_is_not_deleted(shared: Gateway, ada: Person) -> None:
    """A project always has an owner: who owns one is deleted after passing it on."""
    project = (await ada.api.post("/projects", json={"name": "adas"})).json()
    answer = await shared.admin.delete("/users/Ada")
    assert refusal(answer) == (409, "state.conflict")
    assert "adas" in answer.json()["message"]
    await shared.admin.put(
        f"/projects/{project['id']}/collaborators/admin", json={"permission": "owner"}
    )
    assert (await ada.get(f"/projects/{project['id']}"))["owner"]["username"] == "admin"
    await shared.delete(f"/projects/{project['id']}")


async def test_linked_folders_are_for_site_administrators(
    shared: Gateway, ada: Person, tmp_path: object
) -> None:
    """Who may not see the machine's files makes no project of them."""
    for asked in ({"path": str(tmp_path)}, {"git_url": f"file://{tmp_path}"}):
        answer = await ada.api.post("/projects", json={"name": "x", "template": "local", **asked})
        assert refusal(answer) == (403, "auth.forbidden")


async def test_keys_are_created_and_revoked(shared: Gateway, ada: Person) -> None:
    """A key is shown once, listed without its secret, expires, and is revoked alone or with all."""
    made = await shared.post("/users/Ada/v2_keys", {"comment": "ci", "expiry_date": "never"})
    assert made.pop("api_key").startswith(made["key_id"])
    listed = (await shared.get("/users/Ada/v2_keys"))["v2_keys"]
    assert listed[-1] == made
    assert made["expiry_date"] is None
    assert listed[0]["expiry_date"] > "2026"
    for wrong in ("yesterday", "2001-01-01T00:00:00Z"):
        answer = await shared.admin.post("/users/Ada/v2_keys", json={"expiry_date": wrong})
        assert refusal(answer) == (400, "argument.invalid")
    await shared.delete(f"/users/Ada/v2_keys/{made['key_id']}")
    again = await shared.admin.delete(f"/users/Ada/v2_keys/{made['key_id']}")
    assert refusal(again) == (404, "key.notfound")
    assert (await ada.api.get("/whoami")).status_code == 200
    await shared.delete("/users/Ada/v2_keys")
    assert (await ada.api.get("/whoami")).status_code == 401


async def test_key_kinds_open_different_apis(shared: Gateway, ada: Person) -> None:
    """A Model API key is none for the admin API; a legacy key is, as the user of Basic."""
    model = (await shared.post("/users/Ada/model_keys"))["api_key"]
    legacy = (await shared.post("/users/Ada/legacy_keys"))["api_key"]
    headers = {"Authorization": f"Bearer {model}"}
    assert (await shared.models.get("/api/v2/whoami", headers=headers)).status_code == 401
    answer = await shared.models.get("/api/v2/whoami", auth=(legacy, ""))
    assert (answer.json()["username"], answer.json()["by"]) == ("Ada", "legacy key")


async def test_collaborators(shared: Gateway, ada: Person) -> None:
    """A role is given and taken; the owner's only passed on; strangers see no private project."""
    project = f"/projects/{(await shared.post('/projects', {'name': 'shared'}))['id']}"
    path = f"{project}/collaborators/Ada"
    assert refusal(await ada.api.get(project)) == (404, "project.notfound")
    assert (await ada.get("/projects"))["projects"] == []
    await shared.admin.put(path, json={"permission": "viewer"})
    assert (await ada.get(project))["environment"] == "{}"
    assert [p["name"] for p in (await ada.get("/projects"))["projects"]] == ["shared"]
    refused = await ada.api.patch(project, json={"description": "mine"})
    assert refusal(refused) == (403, "auth.forbidden")
    await shared.admin.put(path, json={"permission": "admin"})
    passing = await ada.api.put(path, json={"permission": "owner"})
    assert refusal(passing) == (403, "auth.forbidden")
    listed = (await ada.get(f"{project}/collaborators"))["collaborators"]
    assert [(c["username"], c["permission"]) for c in listed] == [
        ("admin", "owner"),
        ("Ada", "admin"),
    ]
    for wrong in (
        await ada.api.delete(f"{project}/collaborators/admin"),
        await ada.api.put(f"{project}/collaborators/admin", json={"permission": "viewer"}),
    ):
        assert refusal(wrong) == (409, "state.conflict")
    unknown = await ada.api.put(f"{project}/collaborators/unknown", json={"permission": "viewer"})
    assert refusal(unknown) == (404, "user.notfound")
    await shared.delete(path)
    assert refusal(await shared.admin.delete(path)) == (404, "membership.notfound")
    assert refusal(await ada.api.get(project)) == (404, "project.notfound")
    await shared.delete(project)


async def test_variables_are_for_contributors(shared: Gateway, ada: Person) -> None:
    """The values of environment variables are shown to contributors and above only."""
    asked = {"name": "secretive", "environment": {"TOKEN": "s3cret"}, "visibility": "public"}
    project = f"/projects/{(await shared.post('/projects', asked))['id']}"
    assert (await ada.get(project))["environment"] == "{}"
    await shared.admin.put(f"{project}/collaborators/Ada", json={"permission": "contributor"})
    assert "s3cret" in (await ada.get(project))["environment"]
    await shared.delete(project)


async def test_paths_of_the_machine_are_for_site_administrators(
    shared: Gateway, ada: Person, tmp_path: Path
) -> None:
    """Others see neither where a project's files lie, but for the owner of a linked folder, nor
    where Pythons do; where a message has the data folder's path they read that it is there."""
    root = str(shared.data.resolve())
    asked = {"name": "placed", "visibility": "public", "description": f"see {root}/builds/x"}
    made = await shared.post("/projects", asked)
    own = f"/projects/{made['id']}"
    linked = await shared.project(tmp_path, "linked folder", visibility="public")
    assert made["path"].startswith(root)
    assert (await shared.get(linked))["path"] == str(tmp_path)
    for path in (own, linked, "/projects?page_size=1000", "/runtimes", "/site"):
        told = (await ada.api.get(path)).text
        assert root not in told, path
        assert str(tmp_path) not in told, path
        assert "/bin/python" not in told, path
    assert (await ada.get(own))["description"] == "see (data folder)/builds/x"
    # What is refused says it no more than what is answered.
    assert root in (await shared.admin.get(f"/nothing{root}")).text
    refused = (await ada.api.get(f"/nothing{root}")).text
    assert root not in refused
    assert "(data folder)" in refused
    await shared.admin.put(f"{linked}/collaborators/Ada", json={"permission": "owner"})
    assert (await ada.get(linked))["path"] == str(tmp_path)
    for project in (own, linked):
        await shared.delete(project)

"""The audit log of the admin API: each change and each refused change, by whom, from where."""

import httpx
import pytest

from gateway.admin.route_table import ROUTES
from gateway.control.audit.refusal_limit import PER_ADDRESS
from tests.faults.matrix import fault
from tests.support.gateway import Gateway, Json, refusal

PASSWORD = "correct horse battery"


async def trail(gateway: Gateway, **query: str | int) -> list[Json]:
    return list((await gateway.get("/audit", page_size=1000, **query))["entries"])


def told(entries: list[Json]) -> list[tuple[str, str]]:
    return [(each["action"], each["outcome"]) for each in entries]


def test_route_that_changes_names_audit_action() -> None:
    """Each route but GET has an action such as `model.create`; of those, only a backup has one."""
    for route in ROUTES:
        # What only asks, by a body that no query could have; and what is said in a session, whose
        # opening and end are recorded.
        asks = route.path.endswith((":compare", ":check", ":call", ":type"))
        changes = (route.method != "GET" and not asks) or route.path == "/backup"
        assert bool(route.audit) == changes, route.path
        assert not changes or route.audit.partition(".")[2], route.path


async def test_change_has_audit_entry(gateway: Gateway) -> None:
    """Entries come in order, name what was made or found, and tell no text of a body."""
    made = await gateway.post("/projects", {"name": "demo", "environment": {"A": "hidden"}})
    project = f"/projects/{made['id']}"
    changed = await gateway.admin.patch(project, json={"visibility": "public"})
    await gateway.admin.put(f"{project}/files", files={"a/b.txt": b"hidden"})
    await gateway.delete(f"{project}/files/a/b.txt")
    model = await gateway.model(project, "pi")
    await gateway.post(f"{model}:regenerate_key")
    await gateway.post("/users", {"username": "bob", "password": PASSWORD})
    await gateway.admin.put(f"{project}/collaborators/bob", json={"permission": "operator"})
    key = await gateway.post("/users/bob/model_keys", {"comment": "hidden"})
    await gateway.delete(f"/users/bob/model_keys/{key['key_id']}")
    await gateway.admin.patch("/users/bob", json={"disabled": True})
    await gateway.delete(model)
    await gateway.delete(project)
    entries = await trail(gateway)
    assert [(each["action"], each["object"]) for each in entries[1:]] == [
        ("project.create", project),
        ("project.update", project),
        ("file.upload", f"{project}/files"),
        ("file.delete", f"{project}/files/a/b.txt"),
        ("model.create", model),
        ("model.regenerate_key", model),
        ("user.create", "/users/bob"),
        ("collaborator.set", f"{project}/collaborators/bob"),
        ("key.create", f"/users/bob/model_keys/{key['key_id']}"),
        ("key.revoke", f"/users/bob/model_keys/{key['key_id']}"),
        ("user.update", "/users/bob"),
        ("model.delete", model),
        ("project.delete", project),
    ]
    assert entries[0]["action"] == "gateway.start"
    details = {each["action"]: each["detail"] for each in entries}
    assert details["project.create"] == "by admin key; name, environment; variables set: A; demo"
    assert details["project.update"] == "by admin key; visibility=public; project demo"
    assert details["collaborator.set"] == "by admin key; permission=operator; project demo"
    assert details["user.update"] == "by admin key; disabled=true"
    assert details["model.delete"] == "by admin key; model pi"
    assert {each["outcome"] for each in entries} == {"done"}
    assert {each["who"] for each in entries[1:]} == {"admin"}
    assert {each["address"] for each in entries[1:]} == {"127.0.0.1"}
    assert entries[2]["request_id"] == changed.headers["X-Request-Id"]
    assert "hidden" not in str(entries)
    assert PASSWORD not in str(entries)


async def test_refused_change_has_audit_entry(gateway: Gateway) -> None:
    """Every refused change is recorded with its code; a request that changes nothing is not."""
    project = f"/projects/{(await gateway.post('/projects', {'name': 'demo'}))['id']}"
    begin = (await trail(gateway))[-1]["number"]
    await gateway.admin.post("/projects", json={"name": "demo"})
    await gateway.admin.post("/projects", content=b"{", headers={"Content-Type": "text/plain"})
    await gateway.admin.patch("/projects/none", json={"name": "x"})
    await gateway.admin.delete("/users/admin")
    await gateway.admin.get("/projects/none")
    await gateway.admin.post("/nothing/here")
    await gateway.models.post(f"/api/v2{project}/models", json={"name": "x"})
    await gateway.models.delete(f"/api/v2{project}", headers={"Host": "evil.test"})
    entries = await trail(gateway, after=begin)
    assert told(entries) == [
        ("project.create", "name.taken"),
        ("project.create", "request.media"),
        ("project.update", "project.notfound"),
        ("user.delete", "state.conflict"),
        ("model.create", "auth.required"),
        ("project.delete", "request.host"),
    ]
    assert [each["who"] for each in entries] == ["admin"] * 4 + [""] * 2
    assert await trail(gateway, after=begin, who="admin", action="project.") == entries[:3]


@fault(
    "a flood of refused requests",
    injection="without a key",
    bound="a few entries and a count",
)
async def test_refusals_without_key_are_bounded(gateway: Gateway) -> None:
    """Of refused requests without a key only a few are recorded one by one."""
    for _ in range(10 * PER_ADDRESS):
        answer = await gateway.models.post("/api/v2/projects", json={})
        assert answer.status_code == 401
    assert told(await trail(gateway)).count(("project.create", "auth.required")) == PER_ADDRESS


async def test_audit_log_is_for_site_administrators(gateway: Gateway) -> None:
    """A site administrator reads the trail, page by page; others do not, and are entered."""
    await gateway.post("/users", {"username": "bob", "password": PASSWORD})
    key = (await gateway.post("/users/bob/v2_keys"))["api_key"]
    bearer = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=f"{gateway.url}/api/v2", headers=bearer) as bob:
        assert refusal(await bob.get("/audit")) == (403, "auth.forbidden")
        assert refusal(await bob.post("/users", json={})) == (403, "auth.forbidden")
    entries = await trail(gateway)
    assert (entries[-1]["who"], entries[-1]["outcome"]) == ("bob", "auth.forbidden")
    assert entries[-1]["detail"] == "by api key"
    page = await gateway.get("/audit", page_size=2)
    assert page["entries"] == entries[-2:]
    older = await gateway.get("/audit", page_size=1000, before=page["next_before"])
    assert older == {"entries": entries[:-2], "next_before": None}
    since = entries[-1]["created_at"]
    assert await trail(gateway, since=since) == entries[-1:]


@pytest.mark.parametrize("query", [{"since": "soon"}, {"after": "x"}, {"page_size": "0"}])
async def test_audit_query_invalid_is_refused(shared: Gateway, query: dict[str, str]) -> None:
    """A query that means nothing is refused by name."""
    answer = await shared.admin.get("/audit", params=query)
    assert refusal(answer) == (400, "argument.invalid")
    assert next(iter(query)) in answer.text

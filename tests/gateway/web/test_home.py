"""The first page and short addresses over HTTP, and what it shows of models."""

from typing import Any

import pytest

from gateway.web.home_items import attention, counts, own_entries
from tests.gateway.conftest import Samples
from tests.support.browsers import Browser, fresh_name
from tests.support.gateway import Gateway


def model(**more: Any) -> dict[str, Any]:
    """A model that serves, as the API shows it."""
    return {
        "id": "m",
        "name": "petals",
        "project": {"id": "p", "name": "iris"},
        "status": "deployed",
        "failure": None,
        "latest_build": latest(3, "built"),
        "current_build_number": 3,
        "replicas_ready": 2,
        "replicas_wanted": 2,
        **more,
    }


def latest(number: int, status: str, **more: Any) -> dict[str, Any]:
    failure = {"step": "BUILD", "summary": "the script failed", "problem": "exit 1", "advice": ""}
    made = {"id": f"b{number}", "build_number": number, "status": status, "cancelled_by": ""}
    return made | {"failure": None if status == "built" else failure} | more


FAILURE = {"step": "START", "summary": "no replica starts", "problem": "no module x", "advice": ""}


@pytest.mark.parametrize(
    ("more", "label", "tone", "text"),
    [
        ({"replicas_ready": 1}, "Deployed", "warn", "1 of 2 replicas ready, build 3"),
        ({"replicas_ready": 0}, "Deployed", "bad", "0 of 2 replicas ready, build 3"),
        (
            {"status": "failed", "failure": FAILURE},
            *("Failed", "bad", "no replica starts: no module x"),
        ),
        (
            {"latest_build": latest(4, "build failed")},
            *("Build 4 failed", "warn", "the script failed: exit 1"),
        ),
        (
            {"latest_build": latest(4, "building")},
            "Building 4",
            "busy",
            "2 of 2 replicas ready, build 3",
        ),
        (
            {"status": "", "current_build_number": None, "latest_build": latest(1, "build failed")},
            *("Build failed", "bad", "the script failed: exit 1"),
        ),
        ({"status": "deploying"}, "Deploying", "busy", "build 3"),
    ],
)
def test_model_with_a_problem_needs_attention(
    more: dict[str, Any], label: str, tone: str, text: str
) -> None:
    """A model that fails, works partly or waits is shown with the reason."""
    (found,) = attention([model(**more)])
    assert (found.label, found.tone, found.text) == (label, tone, text)


def test_model_that_serves_needs_no_attention() -> None:
    """Neither a model that serves does, nor a cancelled build, nor a model without any build."""
    cancelled = latest(4, "build failed", cancelled_by="ada")
    idle = model(status="", latest_build=None, current_build_number=None)
    assert attention([model(), model(latest_build=cancelled), idle]) == []


def test_worst_comes_first() -> None:
    """Models that fail come before those that wait; each state is counted."""
    models = [model(status="deploying"), model(replicas_ready=0), model(replicas_ready=1)]
    assert [each.tone for each in attention(models)] == ["bad", "warn", "busy"]
    assert counts(models) == [("Deployed", 2), ("Deploying", 1)]


def test_own_entries_link_to_pages() -> None:
    """An entry links to the page of its object, unless this is deleted; sign-ins are left out."""
    paths = {
        ("model.create", "/projects/p/models/m"): "/projects/p/models/m",
        ("build.create", "/projects/p/models/m/builds/b"): "/projects/p/models/m/builds/b",
        ("deployment.restart", "/projects/p/models/m/builds/b/deployments/d:restart"): (
            "/projects/p/models/m/builds/b"
        ),
        ("model.stop", "/projects/p/models/m:stop"): "/projects/p/models/m",
        ("file.write", "/projects/p/files/a b.py"): "/projects/p",
        ("model.delete", "/projects/p/models/m"): "",
        ("key.create", "/users/ada/model_keys/k"): "",
        ("sign_in", "/users/ada"): None,
    }
    entries = [
        {"number": 1, "created_at": "", "action": a, "outcome": "done", "object": o, "detail": "by"}
        for a, o in paths
    ]
    found = {(each.action, each.object): each.path for each in own_entries(entries)}
    assert list(found.values()) == [p for p in reversed(paths.values()) if p is not None]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("model.create", "Create model"),
        ("user.change_password", "Change password"),
        ("experiment.add_to_project", "Add to project"),
        ("key.revoke_all", "Revoke all keys"),
    ],
)
def test_activity_is_told_in_words(action: str, words: str) -> None:
    """The first page says what was done in words, and of a refusal what it was about."""
    address = "/projects/p/models/m/builds/b"
    entry = {"number": 1, "created_at": "", "action": action, "outcome": "state.conflict"}
    (shown,) = own_entries([entry | {"object": address, "detail": ""}])
    assert (shown.text, shown.object, shown.path) == (words, "build", address)


async def test_user_without_models_is_greeted(browser: Browser) -> None:
    """A user who may view no model is shown three ways to the first prediction, and the steps."""
    page = (await browser.get("/")).text
    assert "Welcome to predictd" in page
    for way in ('action="/first-model"', "predictd deploy predict.py:predict", "?setup=git"):
        assert way in page
    assert 'href="/projects/new">Create a project</a>' in page
    assert "is-done" not in page
    await browser.created()
    page = (await browser.get("/")).text
    assert page.count('class="is-done"') == 1
    assert "/models/new" in page
    git = (await browser.get("/projects/new?setup=git")).text
    assert 'value="git" checked' in git


async def test_example_is_deployed_by_one_click(shared: Gateway, browser: Browser) -> None:
    """The form creates a project with the example and builds its model; sent again, it uses the
    same project."""
    taken = await shared.post("/projects", {"name": "iris", "template": "blank"})
    try:
        answer = await browser.post("/first-model")
        path = answer.headers["location"]
        model = await shared.get(path)
        assert model["project"]["name"] == f"iris-{browser.name}"
        assert model["example"] == {"petal_length": 5.4}
        assert model["latest_build"]["build_number"] == 1
        assert "predict-petal-width" in (await browser.get("/")).text
        again = await browser.post("/first-model")
        assert again.status_code == 409
        assert "predict-petal-width" in again.text
        await shared.post(f"{path}/builds/{model['latest_build']['id']}:cancel")
    finally:
        await shared.delete(f"/projects/{taken['id']}")


async def test_home_shows_visible_models_only(
    shared: Gateway, browser: Browser, samples: Samples
) -> None:
    """The first page lists the models that one may view, and no other."""
    assert "Welcome" in (await browser.get("/")).text
    project = (await shared.get("/projects", page_size=1))["projects"][0]
    path = f"/api/v2/projects/{project['id']}/collaborators/{browser.name}"
    answer = await shared.admin.put(f"{shared.url}{path}", json={"permission": "viewer"})
    assert answer.status_code == 200
    page = (await browser.get("/")).text
    models = (await shared.get(f"/projects/{project['id']}/models", page_size=1000))["models"]
    assert "deployed" in page
    assert {f'id="model-{each["id"]}"' in page for each in models[-1:]} == {True}
    shown = (await shared.get("/models", page_size=1000))["models"]
    others = [each for each in shown if each["project"]["id"] != project["id"]]
    assert not [each for each in others if each["id"] in page]


async def test_own_activity_is_listed(shared: Gateway, browser: Browser) -> None:
    """What a user did is listed for them and for administrators, and what others did is not."""
    path = await browser.created()
    page = (await browser.get("/")).text
    assert f'<a href="{path}">' in page
    assert "project.create" in page
    own = f"/api/v2/users/{browser.name}/activity"
    found = (await browser.client.get(own)).json()["entries"]
    assert {each["who"] for each in found} == {browser.name}
    assert (await browser.client.get("/api/v2/users/admin/activity")).status_code == 403
    assert (await shared.get(f"/users/{browser.name}/activity"))["entries"][0] == found[0]


async def test_short_addresses_lead_to_the_model(shared: Gateway, browser: Browser) -> None:
    """`/models/NAME` and `/m/NUMBER` lead to a model that one may view; a name that several
    projects have leads to a choice."""
    name = f"{fresh_name()} ü"
    path = await browser.created()
    one = await shared.post(f"{path}/models", {"name": name})
    place = f"{path}/models/{one['id']}"
    assert (await browser.get(f"/models/{name}")).headers["location"] == place
    assert (await browser.get(f"/m/{one['model_number']}")).headers["location"] == place
    other = await browser.created()
    await shared.post(f"{other}/models", {"name": name})
    await shared.post(f"{other}/models", {"name": f"{name}-more"})
    choice = await browser.get(f"/models/{name}")
    assert choice.text.count('<ul class="results">') == 1
    assert choice.text.count("/models/") >= 2
    assert "-more" not in choice.text
    hidden = await shared.post("/projects", {"name": fresh_name(), "template": "blank"})
    unseen = await shared.post(f"/projects/{hidden['id']}/models", {"name": "unseen"})
    for place in ("/models/unseen", f"/m/{unseen['model_number']}", "/m/x", f"/m/{10**30}"):
        answer = await browser.get(place)
        assert answer.status_code == 404
        assert "model.notfound" in answer.text
    await shared.delete(f"/projects/{hidden['id']}")

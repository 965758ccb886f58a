"""A served model in a real browser: its keys, stop and restart, its charts, and who may do what."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from gateway.client import Json
from tests.support.chromium import HOME, Complaints, Person, sign_in
from tests.support.folders import NewFolder
from tests.support.polling import until
from tests.support.served_gateway import Gateway, at, copy

EXAMPLE = {"a": 3, "b": 5}


@pytest.fixture(scope="module")
def model(gateway: Gateway, new_folder: NewFolder) -> Json:
    return _served(gateway, new_folder("models"))


def _served(gateway: Gateway, folder: Path) -> Json:
    """A model that needs a key, with two replicas."""
    project = gateway.project(copy("add", folder / "add"), f"Samples {folder.name}")
    made = gateway.model(project, "Add Two Numbers")
    build = gateway.build(made, "add.py", "add", example=EXAMPLE)
    assert gateway.deploy(made, build, replicas=2)["status"] == "deployed"
    changed = {"auth_enabled": True, "description": "This model takes two numbers."}
    return dict(gateway.client.patch(at(made), changed))


@pytest.fixture
def owner(gateway: Gateway, model: Json, person: Person) -> Person:
    """A collaborator of the project with all rights."""
    _add(gateway, model, person, "admin")
    return person


def _add(gateway: Gateway, model: Json, person: Person, role: str) -> None:
    path = f"/projects/{model['project']['id']}/collaborators/{person.name}"
    gateway.client.put(path, {"permission": role})


def test_key_is_created_used_and_deleted(
    gateway: Gateway, model: Json, owner: Person, signed_in: Page, complaints: Complaints
) -> None:
    """A Model API key from User Settings works in Test Model and in the curl sample; revoked, it is
    refused by both."""
    page = signed_in
    page.locator(".menu > summary").click()
    page.get_by_role("link", name="User Settings").click()
    page.get_by_role("link", name="API Keys").click()
    page.get_by_label("For", exact=True).select_option("calling models")
    page.get_by_label("Expires in").select_option("1 day")
    page.get_by_role("button", name="Create API keys").click()
    key = page.locator(".made pre").inner_text()
    page.goto(at(model))
    page.get_by_label("Model API Key", exact=True).fill(key)
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.locator(".result")).to_contain_text("200 success")
    sample = page.get_by_role("region", name="Sample Code: Shell").inner_text()
    assert json.loads(_shell(sample, key))["response"] == 8
    page.goto("/settings/keys")
    page.get_by_label(re.compile("Revoke the key")).click()
    page.get_by_role("button", name="Revoke it now").click()
    expect(page.get_by_role("status")).to_contain_text("is revoked")
    assert complaints.all == []
    until(lambda: json.loads(_shell(sample, key)).get("success") is not True)
    page.goto(at(model))
    page.get_by_label("Model API Key", exact=True).fill(key)
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.locator(".result")).to_contain_text("401 failure")
    expect(page.locator(".result")).to_contain_text("model.unauthorized")
    complaints.all.clear()


def _shell(sample: str, key: str) -> str:
    script = sample.replace("YOUR_MODEL_API_KEY", key)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    return done.stdout


def test_model_is_stopped_and_restarted(
    gateway: Gateway, model: Json, owner: Person, signed_in: Page, complaints: Complaints
) -> None:
    """Stop and Restart ask for OK; the page shows what the model does without a reload."""
    page = signed_in
    page.goto(at(model))
    before = _replicas(gateway, model)
    page.get_by_text("Restart", exact=True).click()
    page.get_by_role("button", name="OK").click()
    until(lambda: (now := _replicas(gateway, model)) and not now & before and len(now) == 2)
    expect(page.get_by_text("2 of 2 replicas")).to_be_visible()
    page.get_by_text("Stop", exact=True).click()
    page.get_by_role("button", name="OK").click()
    head = page.locator(".head").first
    expect(head.get_by_text("Stopped", exact=True)).to_be_visible()
    expect(page.get_by_text("Restart", exact=True)).to_have_count(0)
    page.get_by_role("link", name="Deployments").click()
    page.get_by_role("link", name="Re-deploy this Build").first.click()
    page.get_by_role("button", name="Deploy Model").click()
    expect(head.get_by_text("Deployed", exact=True)).to_be_visible()


def _replicas(gateway: Gateway, model: Json) -> set[int]:
    """The processes of the replicas that are ready."""
    found = gateway.client.get(f"{at(model)}/replicas")["replicas"]
    return {each["pid"] for each in found if each["status"] in ("idle", "busy")}


def test_charts_show_traffic_as_it_comes(
    gateway: Gateway, person: Person, signed_in: Page, complaints: Complaints, tmp_path: Path
) -> None:
    """Counts of the replicas, charts, requests and logs of calls appear while one looks on."""
    page, model = signed_in, _served(gateway, tmp_path)
    _add(gateway, model, person, "operator")
    page.goto(f"{at(model)}/monitoring")
    key = gateway.client.post(f"/users/{person.name}/model_keys")["api_key"]
    for number in range(20):
        body = {"a": number, "b": 5} if number % 5 else {"a": number}
        sent = json.dumps({"accessKey": model["access_key"], "request": body})
        gateway.post(sent, Authorization=f"Bearer {key}")
    total = page.get_by_role("row", name="Sum")
    expect(_cell(total, "Received")).to_have_text("20")
    expect(_cell(total, "Success")).to_have_text("16")
    expect(page.get_by_text("20 requests")).to_be_visible()
    requests = page.get_by_role("figure", name=re.compile("Requests"))
    expect(requests.locator("path.area.good")).to_be_visible()
    requests.get_by_text("Numbers").click()
    expect(requests.get_by_role("table")).to_be_visible()
    page.get_by_role("link", name="1 hour").click()
    expect(page).to_have_url(re.compile("window=1h"))
    expect(page.get_by_text("20 requests")).to_be_visible()
    page.get_by_role("link", name="Requests", exact=True).click()
    failed = page.get_by_role("row").filter(has_text="500 model.error")
    expect(failed).to_have_count(4)
    failed.first.get_by_role("link").first.click()
    expect(page.get_by_role("region", name="Lines of the request")).to_contain_text("KeyError")


def _cell(row: Locator, label: str) -> Locator:
    return row.locator(f'[data-label="{label}"]')


def test_each_role_is_offered_what_it_may_do(
    gateway: Gateway,
    model: Json,
    person: Person,
    new_context: Callable[[], BrowserContext],
    tmp_path: Path,
) -> None:
    """A contributor may deploy, a viewer may look: what a role may not do is not offered, and is
    refused in a page that was open when the role changed."""
    other = Person(f"{person.name}-2", person.password)
    gateway.client.post("/users", {"username": other.name, "password": other.password})
    _add(gateway, model, person, "contributor")
    _add(gateway, model, other, "viewer")
    pages = [new_context().new_page(), new_context().new_page()]
    for page, who in zip(pages, (person, other), strict=True):
        sign_in(page, who)
        page.get_by_role("heading", name=HOME).wait_for()
        page.goto(at(model))
        expect(page.get_by_role("heading", name="Add Two Numbers")).to_be_visible()
    contributor, viewer = pages
    for offered in ("Deploy New Build",):
        expect(contributor.get_by_role("link", name=offered)).to_be_visible()
        expect(viewer.get_by_role("link", name=offered)).to_have_count(0)
    expect(contributor.get_by_text("Stop", exact=True)).to_be_visible()
    expect(viewer.get_by_text("Stop", exact=True)).to_have_count(0)
    viewer.goto(f"{at(model)}/deployments")
    expect(viewer.get_by_role("table")).to_be_visible()
    expect(viewer.get_by_role("link", name="Re-deploy this Build")).to_have_count(0)
    for page in pages:
        expect(page.get_by_role("link", name="Admin", exact=True)).to_have_count(0)
    reply = viewer.goto("/admin/users")
    assert reply is not None
    assert reply.status == 403
    # The role changes while a form is open.
    contributor.goto(f"{at(model)}/settings")
    _add(gateway, model, person, "viewer")
    contributor.get_by_label("Description").fill("mine")
    contributor.get_by_role("button", name="Save").click()
    expect(contributor.get_by_role("heading", name="You may not do this")).to_be_visible()
    expect(contributor.get_by_role("button", name="Save")).to_have_count(0)
    assert gateway.client.get(at(model))["description"] == "This model takes two numbers."

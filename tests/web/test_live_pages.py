"""Live pages in a real browser: they move by themselves, and the user's place in them stays."""

import secrets

from playwright.sync_api import Page, expect

from gateway.client import Client
from tests.support.chromium import Person
from tests.support.served_gateway import Gateway


def test_list_shows_what_another_user_creates(
    gateway: Gateway, signed_in: Page, person: Person
) -> None:
    """A project that is created elsewhere appears without a reload, and the focus and what was
    typed stay."""
    name = f"made-elsewhere-{secrets.token_hex(4)}"
    signed_in.goto("/projects")
    search = signed_in.get_by_role("searchbox", name="Search by name")
    search.fill("half a wo")
    gateway.client.post("/projects", {"name": name, "template": "blank", "visibility": "public"})
    expect(signed_in.get_by_role("link", name=name)).to_be_visible()
    expect(search).to_be_focused()
    expect(search).to_have_value("half a wo")


def test_page_whose_object_is_gone_says_so(gateway: Gateway, signed_in: Page) -> None:
    """An open page of a project that is deleted becomes the page of the error."""
    body = {"name": f"gone-{secrets.token_hex(4)}", "template": "blank", "visibility": "public"}
    project = gateway.client.post("/projects", body)
    signed_in.goto(f"/projects/{project['id']}")
    expect(signed_in.get_by_role("heading", name=str(project["name"]))).to_be_visible()
    gateway.client.delete(f"/projects/{project['id']}")
    expect(signed_in.get_by_role("heading", name="Page not found")).to_be_visible()


def test_live_page_ends_with_the_session(gateway: Gateway, signed_in: Page, person: Person) -> None:
    """A page that follows its regions shows nothing more after the user was disabled."""
    signed_in.goto("/projects")
    expect(signed_in.get_by_role("heading", name="Projects", exact=True)).to_be_visible()
    assert isinstance(gateway.client, Client)
    gateway.client.patch(f"/users/{person.name}", {"disabled": True})
    expect(signed_in.get_by_role("heading", name="Sign in")).to_be_visible(timeout=20_000)


def test_refused_form_is_sent_once_and_its_page_stays_live(
    gateway: Gateway, signed_in: Page, person: Person
) -> None:
    """The answer of a refused form has the address of the page of the form: it follows its regions
    there, and it can be loaded again, without sending the form again."""
    name = f"refused-{secrets.token_hex(4)}"
    project = gateway.client.post("/projects", {"name": name, "template": "blank"})
    role = f"/projects/{project['id']}/collaborators/{person.name}"
    gateway.client.put(role, {"permission": "contributor"})
    files = f"/projects/{project['id']}/files"
    asked: list[str] = []
    signed_in.on("request", lambda request: asked.append(request.method))
    signed_in.goto(f"{files}?done=deleted")
    signed_in.get_by_text("New File", exact=True).click()
    signed_in.get_by_role("textbox", name="Name", exact=True).fill("../outside.py")
    signed_in.get_by_role("button", name="Create File").click()
    expect(signed_in.get_by_role("alert")).to_be_visible()
    expect(signed_in.get_by_role("textbox", name="Name", exact=True)).to_have_value("../outside.py")
    expect(signed_in).to_have_url(f"{gateway.url}{files}")
    gateway.client.put(f"{files}/made-elsewhere.py:text", {"text": "pass\n"})
    expect(signed_in.get_by_role("link", name="made-elsewhere.py")).to_be_visible()
    expect(signed_in.get_by_role("alert")).to_be_visible()
    assert asked.count("POST") == 1
    signed_in.reload()
    expect(signed_in.get_by_role("alert")).to_have_count(0)
    assert asked.count("POST") == 1


def test_refused_page_is_loaded_once(gateway: Gateway, signed_in: Page) -> None:
    """A page that shows an error, as for a filter that is none, is not loaded again and again."""
    loaded: list[bool] = []
    signed_in.on("request", lambda request: loaded.append(request.is_navigation_request()))
    body = {"name": f"refused-{secrets.token_hex(4)}", "template": "blank", "visibility": "public"}
    project = gateway.client.post("/projects", body)
    model = gateway.client.post(f"/projects/{project['id']}/models", {"name": "m"})
    base = f"/projects/{project['id']}/models/{model['id']}"
    signed_in.goto(f"{base}/monitoring/requests?status=abc")
    expect(signed_in.get_by_role("alert")).to_contain_text("is not a whole number")
    signed_in.wait_for_timeout(1000)
    assert loaded.count(True) == 1


def test_lost_connection_is_told_in_words(signed_in: Page) -> None:
    """A page without its stream says so, and no longer once it has it again."""
    signed_in.route("**/events?*", lambda route: route.abort())
    signed_in.goto("/projects")
    note = signed_in.locator("#connection")
    expect(note).to_contain_text("No connection to the gateway")
    signed_in.unroute("**/events?*")
    expect(note).to_be_hidden()

"""The pages by keyboard only: shortcuts, the menu, the questions before what cannot be undone."""

import secrets

import pytest
from playwright.sync_api import Locator, Page, expect

from gateway.client import Json
from tests.support.chromium import Complaints, Person
from tests.support.folders import NewFolder
from tests.support.served_gateway import Gateway, at, copy

# Stops of Tab within which everything on a page is reached.
_MOST_STOPS = 60


@pytest.fixture(scope="module")
def project(gateway: Gateway, new_folder: NewFolder) -> Json:
    return gateway.project(copy("add", new_folder("keyboard") / "add"))


def _tab_to(page: Page, wanted: Locator) -> None:
    """Presses Tab until `wanted` has the focus."""
    for _ in range(_MOST_STOPS):
        page.keyboard.press("Tab")
        if wanted.count() and wanted.evaluate("each => each === document.activeElement"):
            return
    raise AssertionError(f"{wanted} is not reached by Tab")


def test_shortcuts(signed_in: Page, complaints: Complaints) -> None:
    """`/` goes to the search, `g p` to the projects, `?` lists the keys; in a field they are
    text."""
    page = signed_in
    page.wait_for_load_state()
    page.keyboard.press("/")
    search = page.get_by_role("searchbox", name="Search projects and models")
    expect(search).to_be_focused()
    page.keyboard.type("g/p?")
    expect(search).to_have_value("g/p?")
    search.blur()
    page.keyboard.press("?")
    expect(page.get_by_text("g p projects")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("p")
    expect(page.get_by_role("heading", name="Projects", exact=True)).to_be_visible()


def test_content_is_reached_without_the_menu(signed_in: Page, complaints: Complaints) -> None:
    """The first stop of Tab skips what all pages have."""
    page = signed_in
    page.goto("/projects")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("main").get_by_role("link").first).to_be_focused()


def test_menu_opens_and_closes(signed_in: Page, complaints: Complaints) -> None:
    """The menu of the user opens by Enter, Tab goes through it, Escape closes it."""
    page = signed_in
    menu, link = page.locator(".menu"), page.get_by_role("link", name="User Settings")
    _tab_to(page, menu.locator("summary"))
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(link).to_be_focused()
    page.keyboard.press("Escape")
    expect(link).to_be_hidden()
    expect(menu.locator("summary")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("main").click(position={"x": 5, "y": 5})
    expect(link).to_be_hidden()


def test_questions_are_answered(
    gateway: Gateway, project: Json, signed_in: Page, person: Person, complaints: Complaints
) -> None:
    """A model is stopped, and deleted by typing its name, without a pointer; Escape leaves a
    question unanswered."""
    gateway.client.patch(f"/users/{person.name}", {"administrator": True})
    model = gateway.model(project, f"keyboard-{secrets.token_hex(4)} (v1.0)")
    build = gateway.build(model, "add.py", "add")
    assert gateway.deploy(model, build)["status"] == "deployed"
    page = signed_in
    page.goto(at(model))
    stop = page.locator("summary", has_text="Stop")
    ok = page.get_by_role("button", name="OK")
    _tab_to(page, stop)
    page.keyboard.press("Enter")
    expect(ok).to_be_visible()
    page.keyboard.press("Escape")
    expect(ok).to_be_hidden()
    expect(stop).to_be_focused()
    page.keyboard.press("Enter")
    _tab_to(page, ok)
    page.keyboard.press("Enter")
    expect(page.locator(".head").get_by_text("Stopped", exact=True)).to_be_visible()
    page.goto(f"{at(model)}/settings")
    _tab_to(page, page.locator("summary", has_text="Delete Model"))
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type(model["name"].replace("1.0", "1x0"))
    page.keyboard.press("Enter")
    typed = page.get_by_label("Type").and_(page.locator(":invalid"))
    expect(typed).to_be_focused()
    typed.fill(model["name"])
    page.keyboard.press("Enter")
    expect(page).not_to_have_url(f"{gateway.url}{at(model)}/settings")
    names = [each["name"] for each in gateway.client.listing(f"/projects/{project['id']}/models")]
    assert model["name"] not in names

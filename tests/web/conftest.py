"""What tests in a browser share: the system's Chromium, a gateway, and a user to sign in."""

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.support.served_gateway import Gateway

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# To the browser a host beyond loopback: without TLS it trusts it with less.
BEYOND = "models.test"
# In milliseconds: what nothing here should take, but a machine under load may.
_PATIENCE = 20_000


class Person(NamedTuple):
    """A user of the gateway."""

    name: str
    password: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("chromium is not installed")
    flags = [f"--host-resolver-rules=MAP {BEYOND} 127.0.0.1"]
    with sync_playwright() as playwright:
        # Without its sandbox, which root and many containers cannot have: its pages are ours.
        browser = playwright.chromium.launch(
            executable_path=program, args=flags, chromium_sandbox=False
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway for all tests of a file: each has users of its own."""
    data: Path = tmp_path_factory.mktemp("web") / "data"
    with Gateway(data, isolation="none") as running:
        yield running


@pytest.fixture
def person(gateway: Gateway) -> Person:
    """A new user who has chosen their password."""
    person = Person(f"user-{secrets.token_hex(4)}", secrets.token_hex(8))
    gateway.client.post("/users", {"username": person.name, "password": person.password})
    return person


@pytest.fixture
def new_context(browser: Browser, gateway: Gateway) -> Iterator[Callable[[], BrowserContext]]:
    """Makes a browser that has never been here: cookies and history of its own."""
    made: list[BrowserContext] = []

    def new() -> BrowserContext:
        made.append(browser.new_context(base_url=gateway.url))
        made[-1].set_default_timeout(_PATIENCE)
        return made[-1]

    yield new
    for context in made:
        context.close()


@pytest.fixture
def page(new_context: Callable[[], BrowserContext]) -> Page:
    """A tab of a fresh browser."""
    return new_context().new_page()


@pytest.fixture
def signed_in(page: Page, person: Person) -> Page:
    """A tab in which a user is signed in."""
    sign_in(page, person)
    page.get_by_role("heading", name="Models", exact=True).wait_for()
    return page


def sign_in(page: Page, person: Person, base: str = "") -> None:
    """Fills in the form, of the gateway at `base` where it is not the usual one, and sends it."""
    page.goto(f"{base}/sign-in")
    page.get_by_label("Name").fill(person.name)
    page.get_by_label("Password").fill(person.password)
    page.get_by_role("button", name="Sign in").click()


def sign_out(page: Page) -> None:
    """Signs out by the menu of the user."""
    page.locator(".menu > summary").click()
    page.get_by_role("button", name="Sign out").click()

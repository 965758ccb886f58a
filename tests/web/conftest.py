"""What tests in a browser share: Chromium, a gateway for each file, and users who are signed in."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.support.chromium import HOME, PATIENCE, Complaints, Person, chromium, sign_in
from tests.support.folders import NewFolder
from tests.support.served_gateway import Gateway


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def gateway(new_folder: NewFolder) -> Iterator[Gateway]:
    """A gateway for all tests of a file: each has users of its own."""
    data: Path = new_folder("web") / "data"
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
        made[-1].set_default_timeout(PATIENCE)
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
    page.get_by_role("heading", name=HOME).wait_for()
    page.wait_for_load_state()  # the scripts of the page have run
    return page


@pytest.fixture
def complaints(page: Page, gateway: Gateway) -> Iterator[Complaints]:
    """What the browser of `page` complains of; the test fails where there is anything."""
    complaints = Complaints(page, gateway.url)
    yield complaints
    assert complaints.all == []

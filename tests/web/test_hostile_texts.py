"""Markup, scripts and links in all that users, programs and callers give stay text, on every page.

The pages are those of the table of routes, so a new one is here by itself. Over HTTP each page is
parsed: no element, attribute or address in it comes from a text. In Chromium nothing of them runs.
"""

import contextlib
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Dialog, Error
from playwright.sync_api import Page as Tab

from gateway.admin.route_table import ROUTES
from gateway.admin.routing.route import AdminRoute
from gateway.web.headers import security_headers
from gateway.web.live import regions_of
from gateway.web.routing import Page
from tests.faults.matrix import fault
from tests.support.browsers import COOKIE
from tests.support.chromium import Complaints
from tests.support.folders import NewFolder
from tests.support.hostile_html import MARK, NAME, TEXT, check_page, is_local
from tests.support.hostile_site import HostileSite, fields_of, hostile_site, pages
from tests.support.served_gateway import Gateway

HTML = "text/html; charset=utf-8"
# They show no text of a user or a program.
_PLAIN = (
    *("/sign-in", "/open", "/settings", "/settings/password", "/styleguide", "/projects/new"),
    *("/admin/security", "/admin/settings", "/models/<name>", "/m/<number>"),
)
_EVENTS = "/events"
# It archives the whole data folder.
_NOT_ASKED = ("/backup",)
# What the admin API replies with.
_DATA = (
    *("application/json", "application/x-ndjson", "application/octet-stream", "application/toml"),
    *("application/jsonl", "text/plain", "text/csv", "application/vnd.apache.parquet"),
)
_REPLIES = [each for each in ROUTES if each.method == "GET" and each.path not in _NOT_ASKED]
_DOWNLOAD = next(
    each for each in _REPLIES if each.path == "/projects/<project_id>/files/<path:path>"
)
_ALL = [page for page in pages("GET") if page.path != _EVENTS]


@pytest.fixture(scope="module")
def site(gateway: Gateway, new_folder: NewFolder) -> Iterator[HostileSite]:
    with hostile_site(gateway, new_folder("hostile")) as site:
        yield site


@pytest.mark.parametrize("page", _ALL, ids=lambda page: page.path)
def test_page_has_no_markup_of_a_text(site: HostileSite, page: Page) -> None:
    """Each page, with each hostile query, has only what its templates have, and its policy."""
    answers = {address: site.get(address) for address in site.addresses(page)}
    if page.path not in _PLAIN:
        assert any(MARK in answer.text for answer in answers.values()), "give it something to show"
    answers |= {address: site.get(address) for address in site.hostile_queries(page)}
    assert {address: wrong for address, each in answers.items() if (wrong := _wrong(each))} == {}


def _wrong(answer: httpx.Response) -> list[str]:
    kind = answer.headers["content-type"]
    check = check_page(answer.text if kind.startswith("text/html") else "")
    wrong = [] if answer.status_code < 500 else [answer.text]
    for name, value in security_headers(kind).items():
        if answer.headers.get(name) != value:
            wrong.append(f"{name}: {answer.headers.get(name)}")
    if not is_local(answer.headers.get("location", "")):
        wrong.append(f"Location: {answer.headers['location']}")
    if list(regions_of(answer.text)) != check.regions and kind.startswith("text/html"):
        wrong.append(f"live regions: {check.regions}")
    return wrong + check.wrong


@pytest.mark.parametrize("route", _REPLIES, ids=lambda route: route.path)
def test_reply_of_the_api_is_no_page(site: HostileSite, route: AdminRoute) -> None:
    """No reply of the admin API, a file or log among them, is HTML; each is sandboxed if a browser
    shows it all the same."""
    for address in site.api_addresses(route):
        answer = site.get(address)
        assert answer.status_code < 500, answer.text
        assert answer.headers["content-type"].partition(";")[0] in _DATA
        assert _wrong(answer) == []
        if answer.headers["content-type"] == "application/octet-stream":
            assert answer.headers["content-disposition"].startswith("attachment;")


def test_name_in_the_menu_is_text(site: HostileSite) -> None:
    """The name of the user who looks, on every page, and the search that they typed."""
    site.gateway.client.patch(f"/users/{site.person.name}", {"name": NAME})
    try:
        assert _wrong(site.get("/projects")) == []
    finally:
        site.gateway.client.patch(f"/users/{site.person.name}", {"name": ""})


@fault(
    "stored markup in a browser",
    injection="scripts, handlers and links in names, comments, files, logs, metrics and failures",
    bound="Chromium runs none of them, opens no dialog, asks no other host",
)
def test_nothing_runs(site: HostileSite, browser: Browser) -> None:
    """Chromium visits all pages, follows the logs, and opens the files: nothing in them runs."""
    context = browser.new_context(base_url=site.gateway.url)
    context.add_cookies(
        [{"name": COOKIE, "value": site.http.cookies[COOKIE], "url": site.gateway.url}]
    )
    tab = context.new_page()
    dialogs: list[str] = []

    def close(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    tab.on("dialog", close)
    complaints = Complaints(tab, site.gateway.url)
    for page in _ALL:
        for address in site.addresses(page):
            _visit(tab, address)
            assert tab.evaluate("typeof ran") == "undefined", address
            if tab.locator("[data-log]").count():
                tab.locator("[data-log] .line").first.wait_for()
                assert tab.locator(f"{MARK}, [{MARK}], [data-log] a:not([download])").count() == 0
            assert tab.evaluate("typeof ran") == "undefined", address
    for name in ("page.html", "picture.svg"):
        _visit(tab, site.api_addresses(_DOWNLOAD, path=name)[0])
        assert tab.evaluate("typeof ran") == "undefined"
    context.close()
    assert dialogs == []
    # A missing page and a picture that is none are answered so.
    assert [each for each in complaints.all if not each.endswith(("404", "404 ()"))] == []


def _visit(tab: Tab, address: str) -> None:
    with contextlib.suppress(Error):  # of a download
        tab.goto(address)


def test_what_was_typed_is_text(site: HostileSite) -> None:
    """Each form with a hostile value in each field: the page that explains why it is refused, or
    the address that follows, has nothing of them."""
    wrong = {}
    for page in pages("POST"):
        if page.path == "/sign-out":
            continue
        form = dict.fromkeys(fields_of(page, "form"), TEXT)
        answer = site.post(site.addresses(page)[0], **form)
        if found := _wrong(answer):
            wrong[page.path] = found
    assert wrong == {}

"""What holds for every page: no error on the console, nothing from elsewhere, it fits on a phone,
and axe-core finds nothing serious, in light and in dark.

The pages are those of the table of routes: a new one is here by itself.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from gateway.web.site import PAGES
from tests.support.chromium import Complaints, sign_in
from tests.support.folders import NewFolder
from tests.support.sample_site import NO_PAGES, SampleSite, populate
from tests.support.served_gateway import Gateway

_PHONE = {"width": 390, "height": 844}
_DESK = {"width": 1280, "height": 900}
_ALL = [page.path for page in PAGES if page.method == "GET" and page.path not in NO_PAGES]
# Rows that are cards on a phone, and do not fit.
_CUT = """
() => [...document.querySelectorAll("table.cards tbody tr")]
  .filter((row) => [...row.children].some((cell) => cell.scrollWidth > cell.clientWidth + 1
    || cell.getBoundingClientRect().right > innerWidth))
  .map((row) => row.textContent.replace(/\\s+/g, " ").slice(0, 100)).slice(0, 3)
"""
# The same pages with nothing to show, or with what went wrong: an attribute of SampleSite, and the
# rest of the path.
_STATES = [
    ("empty_project", ""),
    ("empty_project", "/files"),
    ("empty_project", "/models"),
    ("empty_project", "/models/new"),
    ("empty_project", "/experiments"),
    ("empty_project", "/experiments/compare"),
    ("empty_model", ""),
    ("empty_model", "/builds"),
    ("empty_model", "/deployments"),
    ("empty_model", "/monitoring"),
    ("empty_model", "/metrics"),
    ("empty_model", "/metrics/compare"),
    ("failed_build", ""),
    ("project", "/files/data"),
    ("model", "?input=json"),
    ("model", "/monitoring?window=14d"),
    ("model", "/metrics?time=custom&reference=custom"),
    ("model", "/metrics/compare?x=petal_length&y=petal_width"),
    ("model", "/no-such-page"),
]


@pytest.fixture(scope="module")
def site(gateway: Gateway, new_folder: NewFolder) -> SampleSite:
    folder: Path = new_folder("site")
    return populate(gateway, folder)


@pytest.fixture(scope="module")
def tab(browser: Browser, gateway: Gateway, site: SampleSite) -> Iterator[Page]:
    """The one tab of all tests, in which an administrator is signed in."""
    context = browser.new_context(base_url=gateway.url, viewport=_DESK)  # type: ignore[arg-type]
    page = context.new_page()
    sign_in(page, site.administrator)
    page.wait_for_url("**/")
    yield page
    context.close()


@pytest.mark.parametrize("path", _ALL)
def test_page_is_sound(tab: Page, gateway: Gateway, site: SampleSite, path: str) -> None:
    """Each page of the table, with something to show."""
    _check(tab, gateway, site.path_of(path))


@pytest.mark.parametrize(("thing", "rest"), _STATES, ids=lambda value: value or "itself")
def test_state_of_a_page_is_sound(
    tab: Page, gateway: Gateway, site: SampleSite, thing: str, rest: str
) -> None:
    """Pages with nothing to show, with a failure, or of an error."""
    _check(tab, gateway, getattr(site, thing) + rest)


def _check(tab: Page, gateway: Gateway, path: str) -> None:
    tab.set_viewport_size(_DESK)  # type: ignore[arg-type]
    tab.emulate_media(color_scheme="light")
    complaints = Complaints(tab, gateway.url)
    try:
        reply = tab.goto(path)
        assert reply is not None
        expected = 404 if path.endswith("no-such-page") else 200
        assert reply.status == expected
        found = {"light": _axe(tab)}
        tab.emulate_media(color_scheme="dark")
        found["dark"] = _axe(tab, "color-contrast")
        tab.set_viewport_size(_PHONE)  # type: ignore[arg-type]
        found["phone"] = _axe(tab, "scrollable-region-focusable")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        cut = tab.evaluate(_CUT)
    finally:
        complaints.stop()
    assert not any(found.values()), found
    assert wide <= _PHONE["width"], f"{wide} px wide, by {_too_wide(tab)}"
    assert cut == []
    assert [each for each in complaints.all if expected == 200 or "404" not in each] == []


def _axe(tab: Page, rule: str = "") -> list[str]:
    """What axe-core finds serious or critical."""
    only = {"runOnly": {"type": "rule", "values": [rule]}} if rule else {}
    found = Axe().run(tab, options={"resultTypes": ["violations"], **only})
    return [
        f"{each['id']}: {node['target']} {node['html'][:120]}"
        for each in found.response["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]


def _too_wide(tab: Page) -> list[str]:
    """The innermost elements that reach beyond the right edge."""
    return list(
        tab.evaluate(
            """
            () => [...document.querySelectorAll("body *")]
              .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
              .filter((each) => !each.closest(".scroll, pre"))
              .map((each) => each.outerHTML.slice(0, 100)).slice(-5)
            """
        )
    )

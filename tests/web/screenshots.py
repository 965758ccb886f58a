"""Pictures of the pages: `python -m tests.web.screenshots FOLDER [PART OF A PATH]...`

Each page that has one of the parts in its path in the table of routes (without parts, each page) is
in FOLDER three times: light, dark, and on a phone.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from gateway.web.site import PAGES
from tests.support.chromium import chromium, sign_in
from tests.support.sample_site import NO_PAGES, SampleSite, populate
from tests.support.served_gateway import Gateway

_DESK, _PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
_LOOKS = {
    "light": {"viewport": _DESK},
    "dark": {"viewport": _DESK, "color_scheme": "dark"},
    "phone": {"viewport": _PHONE},
}


def main(folder: Path, *parts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as work,
        Gateway(Path(work) / "data", isolation="none") as gateway,
        chromium() as browser,
    ):
        site = populate(gateway, Path(work))
        for look in _LOOKS:
            _take(browser, gateway, site, folder, look, parts)


def _take(
    browser: Browser,
    gateway: Gateway,
    site: SampleSite,
    folder: Path,
    look: str,
    parts: tuple[str, ...],
) -> None:
    context = browser.new_context(base_url=gateway.url, **_LOOKS[look])  # type: ignore[arg-type]
    page = context.new_page()
    sign_in(page, site.administrator)
    page.wait_for_url("**/")
    for each in PAGES:
        wanted = not parts or any(part in each.path for part in parts)
        if each.method == "GET" and wanted and each.path not in NO_PAGES:
            page.goto(site.path_of(each.path))
            page.wait_for_timeout(700)  # for what is live
            name = each.path.strip("/").replace("/", "-").translate(dict.fromkeys(map(ord, "<>:")))
            page.screenshot(path=folder / f"{name or 'home'}.{look}.png", full_page=True)
    context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

"""The system's Chromium, driven by Playwright, and how a user signs in with it."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# To the browser a host beyond loopback: without TLS it trusts it with less.
BEYOND = "models.test"
# The heading of the first page, before and after there are models.
HOME = re.compile("^(Welcome to predictd|Home)$")
# In milliseconds: what nothing here should take, but a machine under load may.
PATIENCE = 20_000


class Person(NamedTuple):
    """A user of the gateway."""

    name: str
    password: str


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("chromium is not installed")
    flags = [f"--host-resolver-rules=MAP {BEYOND} 127.0.0.1"]
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        # Without its sandbox, which root and many containers cannot have: its pages are ours.
        browser = playwright.chromium.launch(
            executable_path=program, args=flags, chromium_sandbox=False
        )
        yield browser
        browser.close()


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


class Complaints:
    """What a browser has to complain of while pages are used: errors on the console, requests that
    failed, and requests to other hosts."""

    def __init__(self, page: Page, base: str) -> None:
        self._page, self._base = page, base
        self.all: list[str] = []
        self._handlers: dict[str, Callable[..., None]] = {
            "console": self._said,
            "pageerror": self._thrown,
            "request": self._requested,
            "requestfailed": self._failed,
            "response": self._answered,
        }
        for event, handler in self._handlers.items():
            page.on(event, handler)  # type: ignore[call-overload]

    def stop(self) -> None:
        for event, handler in self._handlers.items():
            self._page.remove_listener(event, handler)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.all.append(f"{message.type}: {message.text}")

    def _thrown(self, error: Error) -> None:
        self.all.append(f"uncaught: {error}")

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((f"{self._base}/", "data:", "blob:")):
            self.all.append(f"request to {request.url}")

    def _failed(self, request: Request) -> None:
        # The browser ends them when one leaves the page or downloads a file.
        if request.failure != "net::ERR_ABORTED":
            self.all.append(f"{request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.all.append(f"{response.url}: {response.status}")

"""Requests that another site makes a browser send, over HTTP: to every form and every route of the
admin API that changes something; sessions that another person planted; frames around pages."""

import re
from collections.abc import Mapping

import httpx
import pytest

from gateway.admin.route_table import ROUTES
from gateway.errors import API_PREFIX
from gateway.web.csrf import TOKEN_FIELD, TOKEN_HEADER, form_token
from gateway.web.site import PAGES
from tests.support.browsers import COOKIE, OURS, Browser
from tests.support.gateway import PATIENCE, Gateway

# How a browser states where a request comes from, where that is not a page of this gateway.
_ELSEWHERE: list[Mapping[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"},
    {"Origin": "null"},
    {"Origin": "https://elsewhere.example"},
    {"Origin": "http://127.0.0.1"},
]
# What a form of another site can send without asking.
_TYPES = ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x")
_CHANGES = [
    *((page.method, page.path) for page in PAGES if page.method != "GET"),
    *((route.method, API_PREFIX + route.path) for route in ROUTES if route.method != "GET"),
]


async def _code(
    browser: Browser, method: str, path: str, headers: Mapping[str, str], content: bytes = b""
) -> tuple[int, str]:
    sent = {"Accept": "*/*", **headers}
    answer = await browser.client.request(method, path, content=content, headers=sent)
    found = re.search(r"auth\.\w+", answer.text)
    return answer.status_code, found[0] if found else answer.text[:100]


@pytest.mark.parametrize("headers", _ELSEWHERE, ids=str)
async def test_change_from_elsewhere_is_refused(
    browser: Browser, headers: Mapping[str, str]
) -> None:
    """Every route that changes something refuses the page of another site, also with the token, and
    with each type of body that such a page can send."""
    body = f"{TOKEN_FIELD}={browser.token}".encode()
    wrong = {}
    for number, (method, path) in enumerate(_CHANGES):
        sent = {"Content-Type": _TYPES[number % len(_TYPES)], TOKEN_HEADER: browser.token}
        found = await _code(browser, method, re.sub("<.*?>", "x", path), {**sent, **headers}, body)
        if found != (403, "auth.csrf"):
            wrong[f"{method} {path}"] = found
    assert wrong == {}


async def test_api_refuses_a_session_without_its_token(browser: Browser) -> None:
    """Every route of the admin API that changes something, with the cookie and no or another token,
    or with the token where a link or a form could put it."""
    wrong = {}
    for route in ROUTES:
        if route.method == "GET":
            continue
        path = API_PREFIX + re.sub("<.*?>", "x", route.path)
        for token in ({}, {TOKEN_HEADER: form_token("another")}, {TOKEN_HEADER: ""}):
            address = f"{path}?{TOKEN_FIELD}={browser.token}"
            sent = {"Content-Type": "application/x-www-form-urlencoded", **OURS, **token}
            body = f"{TOKEN_FIELD}={browser.token}".encode()
            found = await _code(browser, route.method, address, sent, body)
            if found != (403, "auth.csrf"):
                wrong[f"{route.method} {route.path} {token}"] = found
    assert wrong == {}


async def test_token_in_the_address_counts_for_nothing(browser: Browser) -> None:
    """A form's token is in its body: an address is in histories and logs."""
    path = f"/sign-out?{TOKEN_FIELD}={browser.token}"
    assert (await browser.client.post(path, headers=OURS)).status_code == 403
    assert (await browser.get("/settings")).status_code == 303


async def test_get_and_head_change_nothing(shared: Gateway, browser: Browser) -> None:
    """An address of a form that is opened as a link, or fetched by HEAD, is no form."""
    before = (await shared.get("/audit", who=browser.name))["entries"]
    read = {page.path for page in PAGES if page.method == "GET"}
    for page in PAGES:
        if page.method == "POST" and page.path not in read:
            path = re.sub("<.*?>", "x", page.path)
            for method in ("GET", "HEAD", "PUT", "DELETE"):
                answer = await browser.client.request(method, path, headers=OURS)
                assert answer.status_code in (404, 405), page.path
    assert (await shared.get("/audit", who=browser.name))["entries"] == before


async def test_planted_session_is_not_used(shared: Gateway, browser: Browser) -> None:
    """A sign-in makes a session of its own: neither a made-up one nor another user's, which a
    neighbour has put into the browser, is that of the user; the other one ends."""
    name, password = "fixated", "a long enough password"
    await shared.post("/users", {"username": name, "password": password})
    planted = browser.client.cookies[COOKIE]
    async with httpx.AsyncClient(base_url=shared.url, timeout=PATIENCE) as client:
        for value in ("made-up", planted):
            cookie = {**OURS, "Cookie": f"{COOKIE}={value}"}
            form = {"name": name, "password": password}
            answer = await client.post("/sign-in", data=form, headers=cookie)
            assert answer.status_code == 303
            (given,) = (
                each
                for each in answer.headers.get_list("set-cookie")
                if each.startswith(f"{COOKIE}=")
            )
            attributes = {each.strip().lower() for each in given.split(";")[1:]}
            assert {"httponly", "samesite=lax", "path=/"} <= attributes
            assert not any(each.startswith("domain") for each in attributes)
            assert value not in given
    assert (await browser.get("/settings")).headers["location"].startswith("/sign-in")
    await shared.delete(f"/users/{name}")


async def test_no_page_may_be_framed(shared: Gateway, browser: Browser) -> None:
    """Every page and refusal forbids frames around it, and windows that keep a hold of it."""
    for page in PAGES:
        if page.method == "GET" and page.path != "/events":
            answer = await browser.get(re.sub("<.*?>", "x", page.path))
            if answer.headers["content-type"].startswith("text/html"):
                policy = answer.headers["content-security-policy"]
                assert "frame-ancestors 'none'" in policy
                assert "form-action 'self'" in policy
                assert answer.headers["cross-origin-opener-policy"] == "same-origin"

"""Browsers that are an HTTP client with a session, for tests of pages without Chromium."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from gateway.web.csrf import TOKEN_FIELD, form_token
from tests.support.gateway import PATIENCE, Gateway

COOKIE = "predictd_session"
# As a browser with a page of ours open.
OURS = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}


class Browser:
    """A browser with a session."""

    def __init__(self, client: httpx.AsyncClient, name: str) -> None:
        self.client = client
        self.name = name

    @property
    def token(self) -> str:
        return form_token(self.client.cookies[COOKIE])

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(path, headers=OURS)

    async def post(self, path: str, /, **form: str) -> httpx.Response:
        """As a form of ours: with its token, unless another is given."""
        return await self.client.post(path, data={TOKEN_FIELD: self.token, **form}, headers=OURS)

    async def created(self, **form: str) -> str:
        """The path of a new project, created by the form."""
        form = {"name": fresh_name(), "setup": "template", "template": "python", **form}
        answer = await self.post("/projects/new", **form)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])


@asynccontextmanager
async def browser_of(gateway: Gateway, *, administrator: bool = False) -> AsyncIterator[Browser]:
    """A browser in which a new user is signed in; the user and their projects are deleted after."""
    name, password = f"user-{secrets.token_hex(4)}", secrets.token_hex(8)
    body = {"username": name, "password": password, "administrator": administrator}
    await gateway.post("/users", body)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=PATIENCE) as client:
        assert (await sign_in(client, name, password)).status_code == 303
        yield Browser(client, name)
    for project in (await gateway.get("/projects", page_size=1000))["projects"]:
        if project["owner"]["username"] == name:
            await gateway.delete(f"/projects/{project['id']}")
    await gateway.delete(f"/users/{name}")


async def sign_in(client: httpx.AsyncClient, name: str, password: str) -> httpx.Response:
    form = {"name": name, "password": password}
    return await client.post("/sign-in", data=form, headers=OURS)


def fresh_name() -> str:
    return f"project-{secrets.token_hex(4)}"

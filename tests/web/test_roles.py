"""What a user may not do is not offered on any page, and refused if they ask for it.

The pages and forms are those of the table of routes. A form needs what the route of the admin API
needs that has the same action in the audit log.
"""

import re
import secrets
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from gateway.admin.route_table import ROUTES
from gateway.errors import API_PREFIX
from gateway.identity.permissions import MEANINGS, PUBLIC_PERMISSIONS, ROLES, Permission, of_role
from gateway.web.csrf import TOKEN_FIELD, form_token
from gateway.web.routing import Page
from gateway.web.site import PAGES
from tests.support.browsers import COOKIE, OURS
from tests.support.folders import NewFolder
from tests.support.sample_site import SampleSite, populate
from tests.support.served_gateway import Gateway

_USER: tuple[Permission, ...] = ("any", "user", "self")
MAY: dict[str, frozenset[Permission]] = {
    "stranger": frozenset((*_USER, *PUBLIC_PERMISSIONS)),
    **{role: of_role(role) | {*_USER, *PUBLIC_PERMISSIONS} for role in ROLES},
    "administrator": frozenset(MEANINGS),
}
_OF_PROJECT = "/projects/<project_id>"
# A stream; forms that do nothing; a session that ends; new passwords and keys.
_ELSEWHERE = ("/events", "/styleguide", "/sign-out")
_OF_ACTION: dict[str, Permission] = {
    **{route.audit: route.permission for route in ROUTES if route.audit},
    "model.test": "model.call",
}
# Offered only while something is being made, or to a user without models.
_NOT_NOW = ("build.cancel", "experiment.stop")


def needs(page: Page) -> Permission:
    """What the page or form states; all of a project can be seen by those who may view it."""
    of_project = page.path.startswith(_OF_PROJECT)
    return "project.view" if of_project and page.needs == "user" else page.needs


_RULES = Map(
    [
        *(Rule(each.path, methods=[each.method], endpoint=needs(each)) for each in PAGES),
        *(
            Rule(API_PREFIX + each.path, methods=[each.method], endpoint=each.permission)
            for each in ROUTES
        ),
        Rule("/static/<name>", methods=["GET"], endpoint="any"),
    ]
).bind("gateway")


_PAGES = Map([Rule(each.path, methods=[each.method], endpoint=each.path) for each in PAGES]).bind(
    "gateway"
)
# The attributes of addresses.
_METHODS = {
    **dict.fromkeys(("href", "src", "data-log"), "GET"),
    "formaction": "POST",
    "data-upload": "PUT",
}


class Offers(HTMLParser):
    """The requests that a page offers, as (method, address)."""

    def __init__(self, address: str, html: str) -> None:
        super().__init__()
        self._address = address
        self.all: set[tuple[str, str]] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        form = (found.get("method") or "get").upper()
        for name, method in {**_METHODS, "action": form}.items():
            if name in found:
                self._offer(method, found[name] or "")
        if tag == "form" and "action" not in found:
            self._offer(form, "")

    def _offer(self, method: str, address: str) -> None:
        if not address.startswith("#"):
            self.all.add((method, urljoin(self._address, address)))


class Visitor(NamedTuple):
    """A user with a role in the project of the site."""

    role: str
    name: str
    http: httpx.Client

    def may(self, page: Page) -> bool:
        return needs(page) in MAY[self.role]

    def get(self, address: str) -> httpx.Response:
        return self.http.get(address, headers=OURS)

    def post(self, address: str) -> httpx.Response:
        form = {TOKEN_FIELD: form_token(self.http.cookies[COOKIE])}
        # The body of an upload is not read before its token is checked.
        query = form if address.endswith(":upload") else {}
        return self.http.post(address, params=query, data=form, headers=OURS)


@pytest.fixture(scope="module")
def site(gateway: Gateway, new_folder: NewFolder) -> SampleSite:
    return populate(gateway, new_folder("site"), requests=4)


@pytest.fixture(scope="module")
def visitors(gateway: Gateway, site: SampleSite) -> Iterator[dict[str, Visitor]]:
    found = {}
    for role in MAY:
        name, password = f"{role}-{secrets.token_hex(2)}", secrets.token_hex(8)
        user = {"username": name, "password": password, "administrator": role == "administrator"}
        gateway.client.post("/users", user)
        if role in ROLES:
            gateway.client.put(f"{site.project}/collaborators/{name}", {"permission": role})
        http = httpx.Client(base_url=gateway.url, timeout=60)
        answer = http.post("/sign-in", data={"name": name, "password": password}, headers=OURS)
        assert answer.status_code == 303
        found[role] = Visitor(role, name, http)
    yield found
    for each in found.values():
        each.http.close()


@pytest.fixture
def visitor(visitors: dict[str, Visitor], request: pytest.FixtureRequest) -> Visitor:
    return visitors[request.param]


each_role = pytest.mark.parametrize("visitor", MAY, indirect=True)


def pages(method: str) -> list[Page]:
    return [
        each
        for each in PAGES
        if each.method == method and not each.public and each.path not in _ELSEWHERE
    ]


def test_form_needs_what_the_api_needs() -> None:
    """A form of a project states the permission of the API's route with the same action, so that it
    is refused before its fields are looked at; a form of /admin needs an administrator."""
    for page in pages("POST"):
        if page.path.startswith(_OF_PROJECT):
            assert page.needs == _OF_ACTION[page.audit], page.path
        assert (page.needs == "site.administer") == page.path.startswith("/admin"), page.path


@each_role
def test_only_what_one_may_do_is_offered(site: SampleSite, visitor: Visitor) -> None:
    """A page is shown to those who may see it, and has only links and forms that its user may use;
    each leads to a route that is there."""
    wrong = []
    for page in pages("GET"):
        address = site.path_of(page.path)
        answer = visitor.get(address)
        if not visitor.may(page):
            if answer.status_code != 403:
                wrong.append(f"{address}: {answer.status_code}")
            continue
        if answer.status_code not in (200, 303):
            wrong.append(f"{address}: {answer.status_code}")
        for method, offered in Offers(address, answer.text).all:
            try:
                needed, _ = _RULES.match(urlsplit(offered).path, method)
            except HTTPException as error:
                wrong.append(f"{address}: {method} {offered}: {error.name}")
            else:
                if needed not in MAY[visitor.role]:
                    wrong.append(f"{address}: {method} {offered} needs {needed}")
    assert wrong == []


@each_role
def test_what_one_may_not_do_is_refused(
    gateway: Gateway, site: SampleSite, visitor: Visitor
) -> None:
    """A form that is sent all the same is refused, changes nothing, and is in the audit log."""
    refused = [page for page in pages("POST") if not visitor.may(page)]
    before = _state(gateway, site)
    wrong = []
    for page in refused:
        answer = visitor.post(site.path_of(re.sub("<(kind|key_id)>", "none", page.path)))
        if answer.status_code != 403:
            wrong.append(f"{page.path}: {answer.status_code}")
    assert wrong == []
    assert _state(gateway, site) == before
    entries = gateway.client.get("/audit", who=visitor.name, page_size=1000)["entries"]
    outcomes = [(each["action"], each["outcome"]) for each in entries]
    assert outcomes[1:] == [(page.audit, "auth.forbidden") for page in refused]


def _state(gateway: Gateway, site: SampleSite) -> list[object]:
    paths = ("", "/collaborators", "/variables", "/files", "/models", "/experiments")
    found: list[object] = [gateway.client.get(f"{site.project}{path}") for path in paths]
    return [
        *found,
        *(gateway.client.get(f"{site.model}/{path}") for path in ("builds", "deployments")),
    ]


@each_role
def test_what_one_may_do_is_not_forbidden(site: SampleSite, visitor: Visitor) -> None:
    """A form that is offered is refused for another reason only: here, for what is not there."""
    for page in pages("POST"):
        if visitor.may(page) and page.path.startswith(_OF_PROJECT):
            path = re.sub("<(?!project_id)(?:path:)?.*?>", "none", page.path)
            assert visitor.post(site.path_of(path)).status_code != 403, page.path


def test_private_project_is_not_there_for_a_stranger(
    gateway: Gateway, site: SampleSite, visitors: dict[str, Visitor]
) -> None:
    """Every page and form of a private project answers a stranger as if there were none."""
    stranger = visitors["stranger"]
    gateway.client.patch(site.project, {"visibility": "private"})
    try:
        for page in PAGES:
            if page.path.startswith(_OF_PROJECT):
                ask = stranger.get if page.method == "GET" else stranger.post
                answer = ask(site.path_of(page.path))
                assert answer.status_code == 404, page.path
                assert "Iris" not in answer.text
        for address in ("/", "/projects", "/models", "/search?q=iris"):
            assert "Iris Project" not in stranger.get(address).text
    finally:
        gateway.client.patch(site.project, {"visibility": "public"})


def test_each_form_is_offered(site: SampleSite, visitors: dict[str, Visitor]) -> None:
    """Each form of a project is on a page for its owner, except those for what runs now."""
    offered = set()
    for page in pages("GET"):
        if visitors["owner"].may(page):
            address = site.path_of(page.path)
            for method, each in Offers(address, visitors["owner"].get(address).text).all:
                if method == "POST":
                    offered.add(_PAGES.match(urlsplit(each).path, method)[0])
    wanted = {
        page.path
        for page in pages("POST")
        if page.path.startswith(_OF_PROJECT) and page.audit not in _NOT_NOW
    }
    assert wanted - offered == set()

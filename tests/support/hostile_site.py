"""A gateway in which each text that a user, a program or a caller gives is hostile, and the
addresses of all its pages, from the routes."""

import contextlib
import inspect
import json
import re
import secrets
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

import httpx

from gateway.admin.routing.route import AdminRoute
from gateway.errors import API_PREFIX
from gateway.web.csrf import TOKEN_FIELD, form_token
from gateway.web.routing import Page
from gateway.web.site import PAGES
from tests.support.browsers import COOKIE, OURS
from tests.support.chromium import Person
from tests.support.hostile_html import LINE, LINK, MARK, NAME, PAGE, PICTURE, TEXT
from tests.support.served_gateway import Gateway, at, write

# As a browser with a page of this gateway open; its name is hostile, too.
_HEADERS = {**OURS, "User-Agent": f"Agent {NAME}"}

_MODEL = f"""
import sys
import cdsw

@cdsw.model_metrics
def predict(args):
    {TEXT!r}
    print({LINE!r})
    print({LINE!r}, file=sys.stderr)
    cdsw.track_metric({NAME!r}, {TEXT!r})
    cdsw.track_metric("width", 1.5)
    if args.get("fails"):
        raise ValueError({TEXT!r})
    return {{{NAME!r}: {TEXT!r}}}
"""
_SCRIPT = f"""
import sys
import cdsw

print({LINE!r})
print({LINE!r}, file=sys.stderr)
cdsw.track_metric({NAME!r}, 1.0)
cdsw.track_metric("b" + {NAME!r}, 2.0)
cdsw.track_metric("text", {TEXT!r})
for name in ({NAME!r}, "notes.txt", {LINK.partition("/")[0]!r}):
    open(name, "w").write({TEXT!r})
open("scores.csv", "w").write({NAME + "," + LINK!r} + chr(10) + {NAME + "," + LINK!r})
open("page.html", "w").write({PAGE!r})
open("picture.svg", "w").write({PICTURE!r})
open("plot.png", "w").write({PICTURE!r})
if sys.argv[2:]:
    raise ValueError({TEXT!r})
"""
_BUILD = f"printf '%s\\n' {shlex.quote(LINE)}\n"
FILES = {
    "predict.py": _MODEL,
    "train.py": _SCRIPT,
    "broken.py": f"raise ValueError({TEXT!r})\n",
    "page.html": PAGE,
    "picture.svg": PICTURE,
    "notes.txt": LINE + TEXT,
    "README.md": TEXT,
    "cdsw-build.sh": _BUILD,
    "requirements.txt": "",
    NAME: TEXT,
    LINK.partition("/")[0]: TEXT,
    f"{NAME} folder/{NAME}": TEXT,
}

# Pages that show something by their query only.
_OUTPUTS = (NAME, "notes.txt", "scores.csv", "page.html", "picture.svg", "plot.png", "none")
_QUERIES: Mapping[str, Sequence[Mapping[str, str]]] = {
    "/projects/<project_id>/experiments/<experiment_id>/file": [{"path": p} for p in _OUTPUTS],
    "/projects/<project_id>/models/<model_id>": [{"input": "json"}],
    "/search": [{"q": MARK}, {"q": "javascript"}],
    "/admin/activity/export": [{"format": "csv"}],
}
# What modules of pages call their tables of the names in a query or form.
_TABLES = ("_FILTERS", "_FIELDS", "_DEFAULTS", "_GIT_FIELDS")


class HostileSite(NamedTuple):
    """The gateway, the browser of an administrator, and a value for each name in the paths of
    pages: several, where a page differs with them."""

    gateway: Gateway
    person: Person
    http: httpx.Client
    values: Mapping[str, tuple[str, ...]]

    @property
    def token(self) -> str:
        return form_token(self.http.cookies[COOKIE])

    def get(self, address: str) -> httpx.Response:
        return self.http.get(address, headers=_HEADERS)

    def post(self, address: str, **form: str) -> httpx.Response:
        """As a form of ours."""
        form = {**form, TOKEN_FIELD: self.token}
        return self.http.post(address, data=form, headers=_HEADERS)

    def addresses(self, page: Page) -> list[str]:
        """The addresses of one page. A new name in a path is entered in `hostile_site`, a page that
        shows something by its query only in `_QUERIES`."""
        names = re.findall(r"<(?:path:)?(\w+)>", page.path)
        found = [
            _filled(page.path, dict(zip(names, chosen, strict=True)))
            for chosen in product(*(self.values[_key(page, name)] for name in names))
        ]
        return [*found, *(f"{found[0]}?{urlencode(each)}" for each in _QUERIES.get(page.path, ()))]

    def hostile_queries(self, page: Page) -> list[str]:
        """The page with a hostile value of each name that it reads, and with a hostile name."""
        address = self.addresses(page)[0]
        names = (*fields_of(page, "query"), NAME)
        return [f"{address}?{urlencode({name: LINK + NAME})}" for name in names]

    def api_addresses(self, route: AdminRoute, path: str = "") -> list[str]:
        """The addresses of a route of the admin API: of each file, or of the one at `path`."""
        values = {name: given[0] for name, given in self.values.items() if name != "path"}
        outputs = "<experiment_id>" in route.path
        paths = [path] if path else [*(_OUTPUTS if outputs else FILES)]
        if route.path.endswith("/files/<path:path>") and not outputs:
            paths = [f"{each}:download" for each in paths]
        paths = paths if "<path:" in route.path else paths[:1]
        return [API_PREFIX + _filled(route.path, {**values, "path": each}) for each in paths]


def _filled(path: str, values: Mapping[str, str]) -> str:
    return re.sub(r"<(?:path:)?(\w+)>", lambda name: quote(values.get(name[1], "none")), path)


def pages(method: str) -> list[Page]:
    return [page for page in PAGES if page.method == method]


def fields_of(page: Page, kind: str) -> list[str]:
    """The names that the module of a page reads of its `query` or `form`."""
    module = sys.modules[page.handler.__module__]
    source = inspect.getsource(module)
    names = set(re.findall(rf"""{kind}(?:\.get\(|\[)"(\w+)\"""", source))
    names |= set(re.findall(rf"""\"(\w+)" in (?:page\.)?{kind}""", source))
    for table in _TABLES:
        names |= set(vars(module).get(table, ()))
    if kind == "query" and "Listing" in vars(module):
        names |= {"filter", "sort", "from"}
    return sorted(names)


def _key(page: Page, name: str) -> str:
    """`path` is a folder on some pages, a file on others; `name` is that of a model or setting."""
    if page.path.startswith("/models/"):
        return "model_name"
    return "folder" if name == "path" and "/files/" in page.path else name


@contextlib.contextmanager
def hostile_site(gateway: Gateway, folder: Path) -> Iterator[HostileSite]:
    person = Person("victim", secrets.token_hex(8))
    client = gateway.client
    client.post(
        "/users", {"username": person.name, "password": person.password, "administrator": True}
    )
    with httpx.Client(base_url=gateway.url, timeout=60) as http:
        http.post("/sign-in", data={"name": TEXT, "password": "x"}, headers=_HEADERS)
        form = {"name": person.name, "password": person.password}
        assert http.post("/sign-in", data=form, headers=_HEADERS).status_code == 303
        client.post(f"/users/{person.name}/model_keys", {"comment": NAME})
        values = _users(gateway) | _project(gateway, write(folder / "code", FILES))
        yield HostileSite(gateway, person, http, values)


def _users(gateway: Gateway) -> dict[str, tuple[str, ...]]:
    client, password = gateway.client, secrets.token_hex(8)
    client.post(
        "/users", {"username": "mallory", "name": NAME, "email": TEXT, "password": password}
    )
    key = client.post("/users/mallory/v2_keys", {"comment": NAME})
    form = {"name": "mallory", "password": password}
    httpx.post(f"{gateway.url}/sign-in", data=form, headers=_HEADERS)
    (session,) = client.listing("/users/mallory/sessions")
    runtime = client.post(
        "/runtimes",
        {"name": "hostile", "description": TEXT, "requirements": f"--no-index\n{NAME}"},
    )
    return {
        "username": ("mallory",),
        "key_id": (str(key["key_id"]),),
        "kind": ("v2_keys",),
        "login_id": (str(session["session_id"]),),
        "runtime_identifier": (str(runtime["runtime_identifier"]),),
        "name": ("model_replicas",),
    }


def _project(gateway: Gateway, folder: Path) -> dict[str, tuple[str, ...]]:
    client = gateway.client
    body = {"template": "local", "path": str(folder), "visibility": "public"}
    project = client.post("/projects", {"name": NAME, "description": TEXT, **body})
    path = f"/projects/{project['id']}"
    client.patch(f"{path}/variables", {"environment": {"TEXT": TEXT, "LINK": LINK}})
    client.put(f"{path}/collaborators/mallory", {"permission": "viewer"})
    client.post(
        "/projects", {"name": LINK.replace("/", ""), "description": LINK, "template": "blank"}
    )
    model = client.post(f"{path}/models", {"name": NAME, "description": TEXT})
    model["access_key"] = client.patch(at(model), {"auth_enabled": False})["access_key"]
    runs = [
        client.post(
            f"{path}/experiments", {"script": "train.py", "arguments": each, "comment": TEXT}
        )
        for each in ([TEXT], [LINK, "fails"])
    ]
    wish = {"comment": TEXT, "example": {NAME: TEXT, "n": 1}}
    failed = gateway.build(model, "broken.py", "none", **wish)
    built = gateway.build(model, "predict.py", "predict", **wish)
    assert built["status"] == "built", built["failure"]
    deployments = [
        gateway.deploy(model, built, environment=json.dumps({"VALUE": each}))
        for each in (LINK, TEXT)
    ]
    for request in ({NAME: TEXT}, {"fails": True}):
        call = json.dumps({"accessKey": model["access_key"], "request": request})
        gateway.post(call, **{"X-Request-Id": NAME, "User-Agent": TEXT})
    for run in runs:
        assert gateway.finished(run, f"{path}/experiments")["ended_at"]
    return {
        "project_id": (str(project["id"]),),
        "model_id": (str(model["id"]),),
        "model_name": (NAME,),
        "number": (str(model["model_number"]),),
        "build_id": (str(built["id"]), str(failed["id"])),
        "deployment_id": tuple(str(each["id"]) for each in deployments),
        "experiment_id": tuple(str(each["id"]) for each in runs),
        "path": (*FILES, f"{NAME} none"),
        "folder": (f"{NAME} folder", f"{NAME} none"),
    }

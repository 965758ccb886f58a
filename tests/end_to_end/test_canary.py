"""Secrets are where they have to be, and nowhere else: canaries that are looked for everywhere."""

import json
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest

from gateway.client import ApiError, Json
from tests.faults.matrix import fault
from tests.support.served_gateway import Gateway, write

# What users chose; the rest is made by the gateway.
PASSWORD = "canary-password-5e1f"
OTHER_PASSWORD = "canary-password-b27c"
TYPED_WRONG = "canary-password-wrong"
SITE, PROJECT, DEPLOYMENT = "canary-site-91ad", "canary-project-40c6", "canary-deployment-7f3b"
# Secrets and values of the site are shown to no one; the others only to those who may edit.
SECRET, DEPLOYED_SECRET = "canary-secret-c3d8", "canary-secret-66e0"
SECRETS = (SECRET, DEPLOYED_SECRET)
VARIABLES = (SITE, PROJECT, DEPLOYMENT, *SECRETS)
MODEL = """\
import os

def seen(args):
    return {name: value for name, value in os.environ.items() if name.startswith("CANARY")}

def fail(args):
    raise ValueError("no")
"""
# What keeps them on purpose, readable by the gateway's user only.
KEPT_IN = ("admin.key", "secret.key")


def sign_in(gateway: Gateway) -> str:
    """What a browser holds for the password; before that, two that are wrong are tried."""
    for password in (TYPED_WRONG, OTHER_PASSWORD, PASSWORD):
        body = urlencode({"name": "ada", "password": password})
        ours = {"Sec-Fetch-Site": "same-origin"}
        ours |= {"Content-Type": "application/x-www-form-urlencoded"}
        connection = HTTPConnection(urlsplit(gateway.url).netloc, timeout=60)
        connection.request("POST", "/sign-in", body, ours)
        cookie = connection.getresponse().getheader("Set-Cookie")
        connection.close()
    assert cookie is not None
    return cookie.partition("=")[2].partition(";")[0]


class Secrets(NamedTuple):
    """What must not be found, by name."""

    held: dict[str, str]

    def found_in(self, content: bytes, but: tuple[str, ...] = ()) -> list[str]:
        return [n for n, v in self.held.items() if n not in but and v.encode() in content]


class Watch:
    """Arguments and environments of all processes of a gateway, as they come and go."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._done = threading.Event()
        self.arguments: set[bytes] = set()
        self.environments: set[bytes] = set()

    def look(self) -> None:
        for pid in [self._gateway.pid, *self._gateway.processes()]:
            with suppress(OSError):  # it ended meanwhile
                self.arguments.add(Path(f"/proc/{pid}/cmdline").read_bytes())
                self.environments.add(Path(f"/proc/{pid}/environ").read_bytes())

    @contextmanager
    def looking(self) -> Iterator[None]:
        def run() -> None:
            while not self._done.wait(0.005):
                self.look()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    config = tmp_path / "predictd.toml"
    config.write_text(f'[environment]\nCANARY_SITE = "{SITE}"\n')
    made = Gateway(tmp_path / "data", access_log=str(tmp_path / "access.log"))
    made.flags = ["--config", str(config)]
    with made:
        yield made


@fault(
    "canaries in place of keys, passwords and variables",
    injection="all used, well and badly; processes watched as they come and go",
    bound="none in database, logs, trail, arguments or environments but where it has to be",
)
def test_secrets_are_only_where_needed(gateway: Gateway, tmp_path: Path) -> None:
    """No key, password, link or variable is in the database, a backup, a log, the audit log or an
    argument; variables are only in their own models and builds; no reply has a secret, and replies
    to users who may not edit have no variable; no reply has a value of the site."""
    watch = Watch(gateway)
    with watch.looking():
        secrets, seen = use_all(gateway, tmp_path)
        watch.look()
    assert seen == {
        "CANARY_SITE": SITE, "CANARY_PROJECT": PROJECT, "CANARY_DEPLOYMENT": DEPLOYMENT,
        "CANARY_SECRET": SECRET, "CANARY_DEPLOYED_SECRET": DEPLOYED_SECRET,
    }  # fmt: skip
    check_replies(gateway)
    backup = tmp_path / "backup.tar"
    assert gateway.cli("backup", backup).code == 0
    trail = gateway.cli("audit", "--json", "--most", "1000").out
    gateway.end(signal.SIGTERM)
    for arguments in watch.arguments:
        assert not secrets.found_in(arguments), arguments
    for environment in watch.environments:
        assert not secrets.found_in(environment, but=VARIABLES), environment
    assert not secrets.found_in(trail.encode())
    told = [gateway.stderr.encode(), (tmp_path / "access.log").read_bytes()]
    told += [path.read_bytes() for path in (gateway.data / "logs").rglob("*") if path.is_file()]
    for log in told:
        assert not secrets.found_in(log)
    for path in sorted(gateway.data.rglob("*")):
        if path.is_file() and path.name not in KEPT_IN:
            assert not secrets.found_in(path.read_bytes()), path
    assert set(secrets.found_in(backup.read_bytes())) == set(KEPT_IN)
    for name in KEPT_IN:
        assert (gateway.data / name).stat().st_mode & 0o077 == 0
    # The canaries would be found: what a deployment is given is its model's.
    assert any(DEPLOYMENT.encode() in environment for environment in watch.environments)


def check_replies(gateway: Gateway) -> None:
    """Every GET of the admin API, and pages, as a site administrator, a contributor and a viewer
    get them."""
    client = gateway.client
    (project,) = client.get("/projects")["projects"]
    of_project = f"/projects/{project['id']}"
    (model,) = client.get(f"{of_project}/models")["models"]
    (build,) = client.get(f"{of_project}/models/{model['id']}/builds")["model_builds"]
    deployment_id = model["current_deployment_id"]
    ids = {"project_id": project["id"], "model_id": model["id"], "build_id": build["id"]}
    ids |= {"deployment_id": deployment_id, "username": "bob", "path": "seen.py", "name": "data"}
    routes = json.loads(get(gateway, "/openapi.json", gateway.key))["paths"]
    paths = [path for path, methods in routes.items() if "get" in methods and "/backup" not in path]
    keys = {"": gateway.key}
    for role in ("viewer", "contributor"):
        client.post("/users", {"username": f"a-{role}", "password": PASSWORD})
        client.put(f"{of_project}/collaborators/a-{role}", {"permission": role})
        keys[role] = client.post(f"/users/a-{role}/v2_keys")["api_key"]
    shown: dict[str, set[str]] = {role: set() for role in keys}
    asked = 0
    for role, key in keys.items():
        for path in paths:
            filled = path.format_map(defaultdict(lambda: "x", ids))
            reply = get(gateway, filled, key)
            asked += b"errors" not in reply
            shown[role] |= {name for name in VARIABLES if name.encode() in reply}
    assert asked > 60
    assert shown == {
        "": {PROJECT, DEPLOYMENT}, "contributor": {PROJECT, DEPLOYMENT}, "viewer": set()
    }  # fmt: skip


def get(gateway: Gateway, path: str, key: str) -> bytes:
    connection = HTTPConnection(urlsplit(gateway.url).netloc, timeout=60)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        return connection.getresponse().read()
    finally:
        connection.close()


def use_all(gateway: Gateway, tmp_path: Path) -> tuple[Secrets, dict[str, str]]:
    """Everything that has a secret in it, used well and badly; and what a model sees of them."""
    client = gateway.client
    folder = write(tmp_path / "project", {"seen.py": MODEL, "cdsw-build.sh": "sleep 0.2\n"})
    wish: Json = {"name": "canary", "template": "local", "path": str(folder)}
    wish |= {"environment": {"CANARY_PROJECT": PROJECT}, "secrets": {"CANARY_SECRET": SECRET}}
    project = client.post("/projects", wish)
    path = f"/projects/{project['id']}/models"
    held = {name: name for name in VARIABLES}
    client.post("/users", {"username": "ada", "password": PASSWORD})
    client.post("/users", {"username": "bob", "password": OTHER_PASSWORD})
    for body in ({"username": "x", "password": PASSWORD[:5]}, {"password": [TYPED_WRONG]}):
        with pytest.raises(ApiError):
            client.post("/users", body)
    keys = {}
    for kind in ("v2_keys", "model_keys", "legacy_keys"):
        keys[kind] = client.post(f"/users/ada/{kind}", {"comment": kind})["api_key"]
        held[kind] = keys[kind].partition(".")[2] or keys[kind][16:]
    client.delete("/users/ada/legacy_keys")
    model = client.post(path, {"name": "seen"})
    build = gateway.build(model, "seen.py", "seen")
    chosen = {"environment": {"CANARY_DEPLOYMENT": DEPLOYMENT}}
    chosen |= {"secrets": {"CANARY_DEPLOYED_SECRET": DEPLOYED_SECRET}}
    gateway.deploy(model, build, **chosen)
    call = json.dumps({"accessKey": model["access_key"], "request": {}})
    mine = {"Authorization": f"Bearer {gateway.key}"}
    answer = gateway.post(call, **mine)
    for key in (*keys.values(), f"{keys['model_keys']}x"):
        gateway.post(call, Authorization=f"Bearer {key}")
        gateway.post(call, f"/model?accessKey={model['access_key']}", Authorization=f"Bearer {key}")
        gateway.post("{", "/api/v2/projects", Authorization=f"Bearer {key}")
    held |= {
        "admin.key": gateway.key,
        "secret.key": (gateway.data / "secret.key").read_text().strip(),
        "access key": model["access_key"],
        "password": PASSWORD,
        "other password": OTHER_PASSWORD,
        "wrong password": TYPED_WRONG,
        "link": client.post("/site/links")["token"],
        "session": sign_in(gateway),
    }
    return Secrets(held), answer.body["response"]

"""Behind nginx and Caddy, with the very configuration that gateway/PROXY.md shows.

Clients come from 127.0.0.2 over TLS, the proxy connects from 127.0.0.1. Each test runs behind both.
"""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from gateway.client import Json
from tests.support.folders import NewFolder
from tests.support.polling import until
from tests.support.served_gateway import (
    PROJECTS,
    ROOT,
    Gateway,
    at,
)

NAME = "models.example.org"
CLIENT = "127.0.0.2"
DOCUMENT = (ROOT / "gateway" / "PROXY.md").read_text()
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def configuration(proxy: str) -> str:
    (text,) = re.findall(rf"<!-- {proxy} -->\n```{proxy}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(text)


def replaced(text: str, **places: str) -> str:
    """The text with what differs from machine to machine."""
    found = {"pem": f"/etc/ssl/{NAME}.pem", "key": f"/etc/ssl/{NAME}.key"}
    for what, place in places.items():
        old = found.get(what, what)
        assert old in text, old
        text = text.replace(old, place)
    return text


def nginx(folder: Path, port: int, upstream: int, pem: Path, key: Path) -> list[str]:
    site = replaced(configuration("nginx"), pem=str(pem), key=str(key))
    site = replaced(site, **{"listen 443": f"listen 127.0.0.1:{port}", ":8080": f":{upstream}"})
    paths = "\n".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; user root; pid {folder}/pid; error_log {folder}/log; worker_processes 1;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{paths}\n{site}\n}}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, port: int, upstream: int, pem: Path, key: Path) -> list[str]:
    site = replaced(configuration("caddy"), pem=str(pem), key=str(key))
    site = replaced(site, **{f"{NAME} {{": f"{NAME}:{port} {{", ":8080": f":{upstream}"})
    (folder / "Caddyfile").write_text(
        "{\nadmin off\nauto_https disable_redirects\ndefault_bind 127.0.0.1\n"
        f"storage file_system {folder}/storage\n}}\n{site}"
    )
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


KINDS = {"nginx": nginx, "caddy": caddy}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Behind(NamedTuple):
    """A gateway behind a proxy, and a model that does what it is told."""

    gateway: Gateway
    port: int
    trust: ssl.SSLContext
    model: Json

    def connect(self) -> HTTPConnection:
        """A connection to the proxy by its public name, from CLIENT."""
        source = socket.create_connection(("127.0.0.1", self.port), 30, (CLIENT, 0))
        connection = HTTPSConnection(NAME, self.port, timeout=30)
        connection.sock = self.trust.wrap_socket(source, server_hostname=NAME)
        return connection

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> HTTPResponse:
        """A request of its own connection; the answer is read."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.body = response.read()  # type: ignore[attr-defined]
        finally:
            connection.close()
        return response

    def call(self, request: Json, **headers: str) -> HTTPResponse:
        return self.ask("POST", "/model", self.body(request), **headers)

    def body(self, request: Json) -> str:
        return json.dumps({"accessKey": self.model["access_key"], "request": request})

    def admin(self, method: str, path: str, body: Any = None, **headers: str) -> HTTPResponse:
        bearer = {"Authorization": f"Bearer {self.gateway.key}"}
        return self.ask(method, f"/api/v2{path}", body, **bearer, **headers)

    def waiting(self) -> Json:
        told: Json = self.gateway.client.get(f"{at(self.model)}/replicas")
        return told

    def busy(self) -> threading.Thread:
        """The only replica is at work for a while, when this returns."""
        work = threading.Thread(target=self.call, args=({"do": "sleep", "seconds": 3},))
        work.start()
        until(lambda: self.waiting()["replicas"][0]["status"] == "busy", pause=0.01)
        return work


@pytest.fixture(scope="module", params=KINDS)
def behind(request: pytest.FixtureRequest, new_folder: NewFolder) -> Iterator[Behind]:
    if shutil.which(request.param) is None:
        pytest.skip(f"needs {request.param}")
    folder = new_folder(request.param)
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME)
    pem, key = folder / "site.pem", folder / "site.key"
    certificate.cert_chain_pems[0].write_to_path(pem)
    certificate.private_key_pem.write_to_path(key)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    port = free_port()
    settings = {
        "isolation": "none",
        "public_url": f"https://{NAME}:{port}",
        "trusted_proxies": "127.0.0.1",
        "access_log": str(folder / "access.log"),
    }
    with Gateway(folder / "data", **settings) as gateway:
        upstream = int(gateway.url.rpartition(":")[2])
        command = KINDS[request.param](folder, port, upstream, pem, key)
        with (folder / "proxy.log").open("wb") as log:
            proxy = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={"HOME": str(folder), "PATH": os.environ["PATH"]},
            )
        try:
            project = Path(shutil.copytree(PROJECTS / "badly", folder / "badly"))
            model = gateway.serve(project, "badly.py", "behave")
            served = Behind(gateway, port, trust, gateway.client.get(at(model)))
            until(lambda: answers(served, proxy), pause=0.1)
            yield served
        finally:
            proxy.terminate()
            proxy.wait(20)


def answers(behind: Behind, proxy: subprocess.Popen[bytes]) -> bool:
    assert proxy.poll() is None, "the proxy has ended"
    try:
        return behind.ask("GET", "/livez").status == 200
    except OSError:
        return False


def test_prediction_passes_the_proxy(behind: Behind) -> None:
    """A prediction passes, and so does a second one on the same connection."""
    connection = behind.connect()
    for word in ("one", "two"):
        body = behind.body({"do": "stdout", "text": f"{word}\n"})
        connection.request("POST", "/model", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200
        assert json.loads(response.read())["success"] is True
    connection.close()


def test_proxy_reuses_its_connections(behind: Behind) -> None:
    """Many clients' requests come over few connections of the proxy, each with its own address."""
    behind.ask("GET", "/livez")
    before = behind.gateway.client.get("/site")["traffic"]["accepted"]
    for _ in range(20):
        assert behind.call({"do": "stdout", "text": ""}).status == 200
    assert behind.gateway.client.get("/site")["traffic"]["accepted"] - before < 10


def test_links_have_the_public_url(behind: Behind) -> None:
    """Links and samples have the public URL; a model gets both, and calls the gateway without the
    proxy."""
    public = f"https://{NAME}:{behind.port}"
    assert behind.gateway.client.get("/site")["url"] == public
    assert f"{public}/model" in json.dumps(behind.model)
    assert public in behind.gateway.cli("open", "--print").out


def test_signing_in(behind: Behind) -> None:
    """The cookie is Secure and of this host alone, the next request knows it, HSTS is sent, and the
    page's Origin is ours."""
    wish = {"username": f"someone{behind.port}", "password": "a long enough password"}
    behind.gateway.client.post("/users", wish)
    form = f"name={wish['username']}&password=a+long+enough+password"
    public = f"https://{NAME}:{behind.port}"
    entered = behind.ask("POST", "/sign-in", form, Origin=public, **FORM)
    cookie = entered.headers["Set-Cookie"]
    assert entered.status == 303, entered.body  # type: ignore[attr-defined]
    assert cookie.startswith("__Host-predictd_session=")
    assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
    assert entered.headers["Strict-Transport-Security"] == "max-age=31536000"
    known = behind.ask("GET", "/api/v2/whoami", Cookie=cookie.partition(";")[0])
    assert known.status == 200
    stranger = behind.ask("POST", "/sign-in", form, Origin="https://other.example.org", **FORM)
    assert stranger.status == 403
    entry = behind.gateway.client.get("/audit?action=sign_in")["entries"][0]
    assert entry["address"] == CLIENT


def test_client_address_cannot_be_forged(behind: Behind) -> None:
    """Audit log and access log have the client's address, also if the client claims another."""
    for claim in (
        {"X-Forwarded-For": "192.0.2.1"},
        {"X-Forwarded-For": "192.0.2.1, 127.0.0.1"},
        {"Forwarded": "for=192.0.2.1"},
        {"X-Forwarded-For": "junk,,unknown", "Forwarded": "for=192.0.2.1"},
    ):
        made = behind.admin("POST", "/users", "{}", **{"Content-Type": "application/json"}, **claim)
        assert made.status == 400
        assert behind.call({"do": "stdout", "text": ""}, **claim).status == 200
    entries = behind.gateway.client.get("/audit?action=user.create")["entries"]
    refused = [each["address"] for each in entries if each["outcome"] != "done"]
    assert refused == [CLIENT] * 4
    log = behind.gateway.data.parent / "access.log"
    until(lambda: log.read_text().count(f"{CLIENT} - - [") > 8)
    assert "192.0.2.1" not in log.read_text()


def test_log_stream_passes_the_proxy_unbuffered(behind: Behind) -> None:
    """Followed lines arrive while the stream is open."""
    connection = behind.connect()
    connection.request(
        "GET",
        f"/api/v2{at(behind.model)}/logs?tail=0",
        headers={
            "Authorization": f"Bearer {behind.gateway.key}",
            "Accept": "text/event-stream",
        },
    )
    response = connection.getresponse()
    assert response.status == 200
    word = f"word {time.monotonic_ns()}"
    assert behind.call({"do": "stdout", "text": f"{word}\n"}).status == 200
    while word.encode() not in response.readline():
        pass
    connection.close()


def test_uploads(behind: Behind) -> None:
    """A file that is larger than what proxies let through by default."""
    project = behind.gateway.client.post("/projects", {"name": "uploads", "template": "blank"})
    part = b'--x\r\nContent-Disposition: form-data; name="big.bin"; filename="big.bin"\r\n\r\n'
    body = part + b"b" * 12_000_000 + b"\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    done = behind.admin("PUT", f"/projects/{project['id']}/files", body, **kind)
    assert done.status == 200, done.body  # type: ignore[attr-defined]


def test_retry_after_passes_the_proxy(behind: Behind) -> None:
    """Retry-After reaches the client."""
    work = behind.busy()
    refused = behind.call({"do": "stdout", "text": ""}, **{"X-Request-Timeout": "0.1"})
    work.join()
    assert refused.status == 429
    assert int(refused.headers["Retry-After"]) > 0


def test_disconnect_passes_the_proxy(behind: Behind) -> None:
    """When a client disconnects, its request leaves the queue of the gateway."""
    work = behind.busy()
    connection = behind.connect()
    body = behind.body({"do": "stdout", "text": ""})
    connection.request("POST", "/model", body, {"Content-Type": "application/json"})
    until(lambda: behind.waiting()["waiting"] == 1)
    connection.close()
    until(lambda: behind.waiting()["waiting"] == 0, 2)
    assert behind.waiting()["replicas"][0]["status"] == "busy"
    work.join()

"""Several gateways: which one a command uses, and that each key is sent to its own gateway only."""

import io
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.cli.contexts import contexts_path
from tests.gateway.cli.conftest import Predictd


class Gateway(NamedTuple):
    """A gateway that accepts every key and records it."""

    url: str
    keys: list[str]


def serve() -> tuple[ThreadingHTTPServer, Gateway]:
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers["Authorization"].removeprefix("Bearer "))
            about = {"username": "ada", "name": "ada", "email": "", "administrator": False}
            body = json.dumps(about | {"by": "api key"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, Gateway(f"http://127.0.0.1:{server.server_port}", keys)


@pytest.fixture
def gateways(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Gateway]]:
    """Three gateways: two for contexts, and one of this machine's default data folder."""
    monkeypatch.delenv("PREDICTD_DATA")
    monkeypatch.setattr("gateway.settings.default_data_folder", lambda: data)
    servers = [serve() for _ in range(3)]
    data.mkdir()
    (data / "gateway.json").write_text(json.dumps({"url": servers[2][1].url, "pid": os.getpid()}))
    (data / "admin.key").write_text("admin-key")
    yield [gateway for _, gateway in servers]
    for server, _ in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def login(predictd: Predictd, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def login(key: str, *argv: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{key}\n"))
        outcome = predictd(*argv)
        assert outcome.code == 0, outcome.err

    return login


def test_each_key_reaches_its_own_gateway_only(
    gateways: list[Gateway],
    login: Callable[..., None],
    predictd: Predictd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever way a gateway is named, it sees the key that was stored with its address, the one
    that was given for it, or none."""
    one, two, here = gateways
    login("key-one", "login", one.url, "--name", "one")
    login("key-two", "context", "add", "two", two.url)
    ways = {
        (): "one",
        ("--context", "one"): "one",
        ("--context", "two"): "two",
        ("--context", "local"): "here",
        ("--url", two.url): "two",
        ("--url", here.url): "here",
    }
    for key in ("", "given"):
        if key:
            monkeypatch.setenv("PREDICTD_API_KEY", key)
        for argv in ways:
            assert predictd("whoami", *argv).code == 0, argv
    monkeypatch.delenv("PREDICTD_API_KEY")
    monkeypatch.setenv("PREDICTD_CONTEXT", "two")
    assert predictd("whoami").code == 0
    monkeypatch.setenv("PREDICTD_URL", one.url)
    assert predictd("whoami").code == 0
    assert predictd("whoami", "--context", "two").code == 0
    # A key that was given goes to an address or this machine, never in place of a context's own.
    # Without a key it is asked whether it answers, before the user types one.
    assert set(one.keys) == {"", "key-one"}
    assert set(two.keys) == {"", "key-two", "given"}
    assert set(here.keys) == {"admin-key", "given"}


def test_wrong_address_is_told_before_a_key_is_typed(
    gateways: list[Gateway], predictd: Predictd
) -> None:
    """Where no gateway answers at the address, no key is asked for."""
    outcome = predictd("login", gateways[0].url.replace("http:", "https:"))
    assert outcome.code == 3
    assert "connection to the gateway at https:" in outcome.err
    assert "key" not in outcome.err.partition("hint:")[0]


def test_contexts_are_listed_used_and_removed(
    gateways: list[Gateway], login: Callable[..., None], predictd: Predictd
) -> None:
    """One context is current; `local` always exists; no list shows a key."""
    one, two, _ = gateways
    login("key-one", "login", one.url)
    login("key-two", "login", two.url, "--name", "two")
    host = one.url.removeprefix("http://")
    path = contexts_path(os.environ)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listed = predictd("context", "ls", "--json")
    assert "key-" not in listed.out
    assert {e["name"]: e["current"] for e in listed.json["contexts"]} == {
        "local": False,
        host: False,
        "two": True,
    }
    assert predictd("context", "use", host).code == 0
    assert f"*  {host}" in predictd("context", "ls").out
    assert one.url in predictd("whoami").out
    assert predictd("context", "rm", host).code == 0
    assert "*  local" in predictd("context", "ls").out
    assert predictd("context", "use", "two").code == 0
    assert "two" in predictd("logout").out
    assert not path.exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("whoami", "--context", "stagin"), "did you mean 'staging'?"),
        (("context", "use", "nope"), "context 'nope' does not exist"),
        (("whoami", "--context", "staging", "--url", "http://x"), "both name a gateway"),
        (("login", "http://127.0.0.1:1", "--name", "staging"), "choose another name"),
        (("login", "http://127.0.0.1:1", "--name", "local"), "choose another name"),
    ],
)
def test_wrong_contexts_are_usage_errors(
    argv: tuple[str, ...],
    message: str,
    gateways: list[Gateway],
    login: Callable[..., None],
    predictd: Predictd,
) -> None:
    """A context that does not exist, is named beside another gateway, or has a taken name."""
    login("key", "login", gateways[0].url, "--name", "staging")
    outcome = predictd(*argv)
    assert (outcome.code, message in outcome.err) == (2, True), outcome.err

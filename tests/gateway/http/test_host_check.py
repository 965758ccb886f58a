"""The host names that the gateway answers to, and where TLS is required."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import trio

from gateway.errors import Refusal
from gateway.http.host_check import AllowedHosts, check_listen_address, hosts_of, name_of
from gateway.operations.systemd import ServiceManager
from gateway.serving import run_gateway
from gateway.settings import LoadedSettings, Settings, SettingsError
from tests.faults.matrix import fault
from tests.gateway.conftest import Samples
from tests.support.gateway import Gateway, refusal, settings_for, url_in

LOOPBACK = ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")
BEYOND = ("0.0.0.0", "::", "192.0.2.1", "fe80::1%eth0")


def answers(hosts: AllowedHosts, host: str, path: str = "/api/v2/site") -> bool:
    with suppress(Refusal):
        hosts.check(host, path)
        return True
    return False


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Models.Test", "models.test"),
        ("models.test.:8080", "models.test"),
        ("[::1]:8080", "::1"),
        ("[::1", ""),
        ("a:b", ""),
        ("a@b:1:2", ""),
        ("", ""),
    ],
)
def test_name_in_a_host_header(header: str, name: str) -> None:
    """Without port, case and last dot; junk gives no name."""
    assert name_of(header) == name


@pytest.mark.parametrize("address", [*LOOPBACK, *BEYOND])
def test_known_names_are_answered(address: str) -> None:
    """Loopback names, addresses and the names in the settings are answered, others are not."""
    named = Settings(
        host="inner", public_url="https://models.test:8443", allowed_hosts=["other.test"]
    )
    hosts = hosts_of(named, address)
    for host in ("localhost", "x.localhost", "127.0.0.1", "[::1]", "192.0.2.7", "inner"):
        assert answers(hosts, f"{host}:80")
    for host in ("models.test", "modelservice.models.test", "other.test"):
        assert answers(hosts, host)
    for host in ("evil.test", "models.test.evil.test", "localhost.evil.test", "", "1.2.3.4.5"):
        assert not answers(hosts, host)


def test_machine_name_is_known_beyond_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that listens beyond loopback answers to the machine's name as well."""
    monkeypatch.setattr("socket.gethostname", lambda: "ward.example.test")
    for name in ("ward.example.test", "ward.local"):
        assert answers(hosts_of(Settings(), "0.0.0.0"), name)
        assert not answers(hosts_of(Settings(), "127.0.0.1"), name)


@fault(
    "DNS rebinding",
    injection="another's name in Host",
    bound="421 before a key is looked at",
)
async def test_only_calls_and_health_checks_answer_to_any_name(
    shared: Gateway, samples: Samples
) -> None:
    """Otherwise a foreign name gets 421 before its key is checked."""
    evil = {"Host": "evil.test"}
    async with httpx.AsyncClient(base_url=url_in(samples.data)) as client:
        for path in ("/", "/api/v2/site", "/openapi.json", "/nothing"):
            refused = await client.get(path, headers=evil)
            assert refusal(refused) == (421, "request.host"), path
        for path in ("/livez", "/readyz", "/healthz"):
            assert (await client.get(path, headers=evil)).status_code == 200
        body = {"accessKey": samples.add, "request": {"a": 1, "b": 2}}
        assert (await client.post("/model", json=body, headers=evil)).status_code == 200


def test_plain_http_beyond_loopback_needs_a_setting() -> None:
    """Beyond loopback the gateway needs TLS or `allow_plain_http`; on loopback neither."""
    for address in LOOPBACK:
        check_listen_address(Settings(), address)
    for address in BEYOND:
        with pytest.raises(SettingsError, match="could read and change passwords"):
            check_listen_address(Settings(), address)
        check_listen_address(Settings(allow_plain_http=True), address)
        check_listen_address(Settings(tls_certificate="c", tls_key="k"), address)


async def test_plain_http_on_an_inherited_socket_is_refused(tmp_path: Path) -> None:
    """A socket of the service manager is checked like any other."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        manager = ServiceManager(descriptor=os.dup(listener.fileno()))
        with pytest.raises(SettingsError, match=r"listen on 0\.0\.0\.0"):
            await run_gateway(
                LoadedSettings(settings_for(tmp_path / "data"), {}),
                stop=trio.Event(),
                ready=print,
                manager=manager,
            )


async def test_plain_http_is_refused_at_the_start(tmp_path: Path) -> None:
    """The start is refused before there is a database; with `allow_plain_http` it serves."""
    exposed = settings_for(tmp_path / "data", Settings(host="0.0.0.0"))
    with pytest.raises(SettingsError, match="allow_plain_http = true"):
        await run_gateway(LoadedSettings(exposed, {}), stop=trio.Event(), ready=print)
    assert not (tmp_path / "data" / "predictd.db").exists()
    stop, urls = trio.Event(), list[str]()

    def ready(url: str) -> None:
        urls.append(url)
        stop.set()

    allowed = settings_for(tmp_path / "data", Settings(host="0.0.0.0", allow_plain_http=True))
    await run_gateway(LoadedSettings(allowed, {}), stop=stop, ready=ready)
    assert urls

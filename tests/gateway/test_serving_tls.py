"""A gateway with TLS, from its start to an answer: the same answers, its own CLI at home in it."""

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trustme

from gateway.cli.context import Address, running_address
from gateway.client import Client, ServerUnreachable
from gateway.serving import run_gateway
from gateway.settings import LoadedSettings, Settings, SettingsError
from tests.support.gateway import PATIENCE, Gateway, copy_of, running, settings_for

CALL = "POST /model HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
LIVEZ = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def gateway(
    tmp_path: Path, certified: Settings, trust: ssl.SSLContext
) -> AsyncIterator[Gateway]:
    public = {"host": "localhost", "public_url": "https://models.test"}
    settings = settings_for(tmp_path / "data", certified, **public)
    # It listens at an address, and the certificate is for the name.
    trust.check_hostname = False
    async with running(settings, trust) as gateway:
        yield gateway


class Conversation:
    """Requests one after the other on one connection; answers as they came."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream
        self._read = b""

    async def ask(self, request: str) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        await self._stream.send_all(request.encode())
        with trio.fail_after(PATIENCE):
            while (end := self._read.find(b"\r\n\r\n") + 4) < 4:
                await self._read_on()
            head = self._take(end).decode()
            fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:-1])
            while len(self._read) < int(fields["content-length"]):
                await self._read_on()
        return int(head.split()[1]), self._take(int(fields["content-length"]))

    async def _read_on(self) -> None:
        part = await self._stream.receive_some()
        assert part, "it was cut off"
        self._read += part

    def _take(self, length: int) -> bytes:
        taken, self._read = self._read[:length], self._read[length:]
        return taken


async def test_from_a_project_to_an_answer(
    gateway: Gateway, tmp_path: Path, trust: ssl.SSLContext
) -> None:
    """A call, what is not a call, and another call on one connection over TLS: all are answered,
    and both ways to the model give the same body."""
    assert gateway.url.startswith("https://")
    model = await gateway.model(await gateway.project(copy_of("environment", tmp_path)))
    await gateway.deployed(await gateway.built(model, "environment.py:report"))
    body = json.dumps({"accessKey": await gateway.key(model), "request": {}})
    call = CALL % (len(body), body)
    stream = trio.SSLStream(
        await trio.open_tcp_stream("localhost", gateway.port), trust, server_hostname="localhost"
    )
    client = Conversation(stream)
    by_the_door = [await client.ask(call), await client.ask(call)]
    assert await client.ask(LIVEZ) == (200, b'{"status":"ok"}')
    elsewhere = await client.ask(call)
    assert by_the_door == [elsewhere, elsewhere]
    seen = json.loads(elsewhere[1])["response"]["environment"]
    assert seen["CDSW_API_URL"] == "https://models.test/api/v1"
    await trio.aclose_forcefully(stream)


async def test_urls_have_the_scheme(gateway: Gateway, tmp_path: Path) -> None:
    """Where the gateway says how it is reached, it says https."""
    assert (await gateway.get("/site"))["url"] == "https://models.test"
    project = await gateway.project(copy_of("add", tmp_path))
    model = await gateway.get(await gateway.model(project))
    assert "https://models.test/model" in json.dumps(model)


async def test_the_command_line_on_the_same_machine(gateway: Gateway) -> None:
    """A client that finds the gateway by its data folder trusts its certificate, and no other."""
    address = running_address(gateway.data)
    assert address.url == gateway.url
    with address.client((gateway.data / "admin.key").read_text()) as client:
        assert await trio.to_thread.run_sync(client.listing, "/projects") == []
    other = trustme.CA().issue_cert("localhost").cert_chain_pems[0].bytes().decode()
    with Address(gateway.url, other).client("") as stranger:
        assert not await trio.to_thread.run_sync(stranger.alive)


async def test_the_certificates_above_it_are_not_trusted(
    gateway: Gateway, authority: trustme.CA
) -> None:
    """Of the certificates in the file only the gateway's own is told to the command line."""
    certificate = running_address(gateway.data).certificate
    assert certificate.count("BEGIN CERTIFICATE") == 1
    assert certificate != authority.cert_pem.bytes().decode().strip()


async def test_a_client_by_url(
    gateway: Gateway, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its URL the gateway is trusted if the machine, or SSL_CERT_FILE, trusts who vouches for
    it and its name fits."""
    named = f"https://localhost:{gateway.port}"

    def ask(url: str) -> str:
        with Client(url, "") as client:
            return str(client.get("/site"))

    with pytest.raises(ServerUnreachable, match="cannot verify the certificate") as caught:
        await trio.to_thread.run_sync(ask, named)
    assert "SSL_CERT_FILE" in caught.value.advice
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with pytest.raises(Exception, match="the API key is not valid"):
        await trio.to_thread.run_sync(ask, named)
    with pytest.raises(ServerUnreachable, match="cannot verify the certificate"):
        await trio.to_thread.run_sync(ask, f"https://127.0.0.1:{gateway.port}")


async def test_wrong_files_change_nothing(tmp_path: Path) -> None:
    """TLS settings that cannot be used are refused before a data folder is made."""
    settings = settings_for(tmp_path / "data", tls_certificate="missing.pem", tls_key="key.pem")
    with pytest.RaisesGroup(SettingsError, allow_unwrapped=True, flatten_subgroups=True):
        await run_gateway(LoadedSettings(settings, {}), stop=trio.Event(), ready=lambda _: None)
    assert not list(tmp_path.iterdir())

"""TLS: unusable files are named at once; clients get HTTP/1.1 over TLS 1.2 or later."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme
from quart import Response, request
from quart_trio import QuartTrio

from gateway.http.listen_sockets import listen
from gateway.http.server import serve_http
from gateway.http.timeouts import HttpTimeouts
from gateway.http.tls import server_tls
from gateway.settings import Settings, SettingsError
from tests.support.http_stage import TIMEOUTS, StagedPool, http_context, limits
from workers import Reactor

GET = b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_plain_http_without_files() -> None:
    """Without the two settings there is no TLS."""
    assert server_tls(Settings()) is None


def test_no_old_versions(certified: Settings) -> None:
    """Nothing below TLS 1.2 is accepted."""
    context = server_tls(certified)
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_both_files_or_none(certified: Settings) -> None:
    """One file without the other is refused, and the missing one is named."""
    with pytest.raises(SettingsError, match="tls_key is not set"):
        server_tls(Settings(tls_certificate=certified.tls_certificate))
    with pytest.raises(SettingsError, match="tls_certificate is not set"):
        server_tls(Settings(tls_key=certified.tls_key))


def test_unusable_file_is_named(certified: Settings, tmp_path: Path) -> None:
    """The error names the file and what is wrong with it."""

    def problem(certificate: str, key: str) -> str:
        with pytest.raises(SettingsError) as caught:
            server_tls(Settings(tls_certificate=certificate, tls_key=key))
        return str(caught.value)

    certificate, key = certified.tls_certificate, certified.tls_key
    missing = str(tmp_path / "missing.pem")
    assert problem(missing, key).endswith(f"tls_certificate {missing}: No such file or directory")
    assert problem(certificate, str(tmp_path)).endswith(f"tls_key {tmp_path}: Is a directory")
    assert problem(key, certificate) == (
        f"tls_certificate {key} contains no certificate in PEM format"
    )
    assert problem(certificate, certificate).startswith(
        f"tls_key {certificate} contains no private key"
    )
    other = tmp_path / "other.pem"
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(other)
    assert problem(certificate, str(other)).startswith(f"the tls_key {other} does not belong to")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert "cannot use tls_certificate" in problem(str(broken), key)


def test_encrypted_key_is_refused(certified: Settings, tmp_path: Path) -> None:
    """Instead of a prompt on a terminal."""
    pem = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = pem.load_pem_private_key(Path(certified.tls_key).read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"secret")
        )
    )
    with pytest.raises(SettingsError, match="the tls_key is encrypted"):
        server_tls(Settings(tls_certificate=certified.tls_certificate, tls_key=str(locked)))


@asynccontextmanager
async def serving(settings: Settings, timeouts: HttpTimeouts = TIMEOUTS) -> AsyncIterator[int]:
    """The port of a server over TLS, which echoes bodies."""
    app = QuartTrio(__name__)

    @app.route("/echo", methods=["GET", "POST"])
    async def echo() -> Response:
        return Response(await request.get_data(), headers={"X-Scheme": request.scheme})

    reactor = Reactor()
    memory = limits(body=10**6, memory=10**7)
    context = http_context(reactor, StagedPool(), limits=memory, timeouts=timeouts)
    with listen("127.0.0.1", 0) as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            serve = partial(serve_http, reactor=reactor, stop=trio.Event(), grace=1.0)
            await nursery.start(partial(serve, app, [listener], context, tls=server_tls(settings)))
            yield listener.getsockname()[1]
            nursery.cancel_scope.cancel()
    reactor.close()


async def connect(
    port: int, authority: trustme.CA, *protocols: str
) -> trio.SSLStream[trio.SocketStream]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if protocols:
        context.set_alpn_protocols(protocols)
    transport = await trio.open_tcp_stream("127.0.0.1", port)
    stream = trio.SSLStream(transport, context, server_hostname="localhost", https_compatible=True)
    await stream.do_handshake()
    return stream


async def all_of(stream: trio.abc.ReceiveStream) -> bytes:
    read = b""
    with trio.fail_after(10):
        while data := await stream.receive_some():
            read += data
    return read


async def test_requests_over_tls(certified: Settings, authority: trustme.CA) -> None:
    """Requests are answered as without TLS, one after the other, and the end is clean."""
    body = b"x" * 300_000
    async with serving(certified) as port:
        stream = await connect(port, authority, "h2", "http/1.1")
        assert stream.selected_alpn_protocol() == "http/1.1"
        await stream.send_all(GET + b"POST /echo HTTP/1.1\r\nHost: localhost\r\n")
        await stream.send_all(b"Connection: close\r\nContent-Length: 300000\r\n\r\n" + body)
        answers = await all_of(stream)
        assert answers.count(b"HTTP/1.1 200") == 2
        assert b"x-scheme: https" in answers.lower()
        assert answers.endswith(body)
        await stream.aclose()


async def test_refusal_over_tls_arrives(certified: Settings, authority: trustme.CA) -> None:
    """A malformed request gets its response, though the client still sends."""
    async with serving(certified) as port:
        stream = await connect(port, authority)
        await stream.send_all(b"GET / HTTP/1.1\nHost: x\n\n" + b"x" * 100_000)
        assert (await all_of(stream)).startswith(b"HTTP/1.1 400 ")
        await stream.aclose()


async def test_client_without_tls_affects_no_other(
    certified: Settings, authority: trustme.CA
) -> None:
    """Plain HTTP and silence in the handshake end their own connection only."""
    async with serving(certified, HttpTimeouts(handshake=0.2)) as port:
        for sent in (GET, b"\x16\x03\x01", b""):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(sent)
                with suppress(trio.BrokenResourceError):
                    assert b"HTTP" not in await all_of(stream)
        async with await connect(port, authority) as good:
            await good.send_all(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert (await all_of(good)).startswith(b"HTTP/1.1 200 ")

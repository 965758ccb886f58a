"""TLS: the server's context from the two files that the settings name, and the handshake.

A problem with the files is found before the gateway changes anything.
"""

import socket
import ssl
from pathlib import Path

import trio

from gateway.settings import Settings, SettingsError

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def server_tls(settings: Settings) -> ssl.SSLContext | None:
    """The server's context, or None for plain HTTP.

    TLS 1.2 or later, and HTTP/1.1 only. Raises SettingsError.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if not certificate and not key:
        return None
    if not (certificate and key):
        missing = "tls_key" if certificate else "tls_certificate"
        raise SettingsError(f"{missing} is not set: TLS needs both tls_certificate and tls_key")
    _check(certificate, "tls_certificate", _BEGIN.encode(), "certificate")
    _check(key, "tls_key", b"PRIVATE KEY-----", "private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(_path(certificate), _path(key), _no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"the tls_key {key} does not belong to the tls_certificate {certificate}"
        else:
            problem = f"cannot use tls_certificate {certificate} and tls_key {key}: {error}"
        raise SettingsError(problem) from error
    return context


def own_certificate(settings: Settings) -> str:
    """The server's own certificate (PEM), without the rest of its chain; empty for plain HTTP."""
    if not settings.tls_certificate:
        return ""
    chain = _path(settings.tls_certificate).read_text("ascii", "replace")
    return chain[chain.index(_BEGIN) : chain.index(_END) + len(_END)]


def tls_stream(client: socket.socket, context: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
    """The server's side of a connection, before the handshake."""
    return trio.SSLStream(
        trio.SocketStream(trio.socket.from_stdlib_socket(client)),
        context,
        server_side=True,
        https_compatible=True,
    )


async def shake_hands(stream: trio.SSLStream[trio.SocketStream], seconds: float) -> None:
    """The TLS handshake. Raises TooSlowError, or BrokenResourceError where there is no TLS."""
    with trio.fail_after(seconds):
        await stream.do_handshake()


def _check(name: str, setting: str, begin: bytes, what: str) -> None:
    try:
        content = _path(name).read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {setting} {name}: {error.strerror}") from error
    if begin not in content:
        raise SettingsError(f"{setting} {name} contains no {what} in PEM format")


def _path(name: str) -> Path:
    return Path(name).expanduser()


def _no_passphrase() -> str:
    """OpenSSL would otherwise prompt on the terminal."""
    raise SettingsError("the tls_key is encrypted. Provide a key without a passphrase")

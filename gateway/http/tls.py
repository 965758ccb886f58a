"""TLS for the listener, from the two files that the settings name.

Everything about them that can be wrong is found before the gateway changes anything.
"""

import ssl
from pathlib import Path

from gateway.settings import Settings, SettingsError

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def server_tls(settings: Settings) -> ssl.SSLContext | None:
    """The context of the server's side, or None where it is to speak plain HTTP.

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
            problem = f"the tls_key {key} is not that of the tls_certificate {certificate}"
        else:
            problem = f"tls_certificate {certificate} and tls_key {key} cannot be used: {error}"
        raise SettingsError(problem) from error
    return context


def own_certificate(settings: Settings) -> str:
    """The certificate itself (PEM), without those that vouch for it; empty for plain HTTP."""
    if not settings.tls_certificate:
        return ""
    chain = _path(settings.tls_certificate).read_text("ascii", "replace")
    return chain[chain.index(_BEGIN) : chain.index(_END) + len(_END)]


def _check(name: str, setting: str, begin: bytes, what: str) -> None:
    try:
        content = _path(name).read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {setting} {name}: {error.strerror}") from error
    if begin not in content:
        raise SettingsError(f"{setting} {name} has no {what} in it (in PEM format)")


def _path(name: str) -> Path:
    return Path(name).expanduser()


def _no_passphrase() -> str:
    """Instead of a question on the terminal, which OpenSSL would ask."""
    raise SettingsError("the tls_key is encrypted: give it without a passphrase")

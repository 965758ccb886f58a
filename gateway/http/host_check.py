"""What the gateway shows to the network: under which names, and whether in the clear.

A page of somebody else's can have its own name lead to this machine (DNS rebinding); its browser
then takes the gateway for that page's server. What gives it away is the name in `Host`. So the
admin API and the pages answer to known names only. An address needs no list: a browser that shows
one was led there by no name. Calls of models answer to any name, as their clients expect.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from gateway.errors import Refusal
from gateway.settings import Settings, SettingsError

_HOST = re.compile(r"(?P<name>[^:\[\]]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
# Whoever asks whether all is well is told nothing that matters, and asks by any name.
_ANY_NAME = {"/livez", "/readyz", "/healthz"}


class AllowedHosts:
    """The names to which the gateway answers."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name for each in names if (name := name_of(each)))

    def check(self, host: str, path: str) -> None:
        """Raises Refusal where `host`, a header's value, names somebody else."""
        name = name_of(host)
        if name in self._names or name.endswith(".localhost") or path in _ANY_NAME:
            return
        if not _is_address(name):
            told = f"this gateway does not answer to the name {host[:100]!r}"
            raise Refusal("request.host", told)


def hosts_of(settings: Settings, address: str) -> AllowedHosts:
    """The names that the settings and the machine give to the gateway that listens at `address`."""
    names = ["localhost", settings.host, *settings.allowed_hosts]
    if public := urlsplit(settings.public_url).netloc:
        names += [public, f"modelservice.{public}"]
    if not _is_loopback(address):
        names += [socket.gethostname(), f"{socket.gethostname().partition('.')[0]}.local"]
    return AllowedHosts(names)


def check_listen_address(settings: Settings, address: str) -> None:
    """Raises SettingsError where others could read along, and nobody said that they may."""
    if settings.tls_certificate or settings.allow_plain_http or _is_loopback(address):
        return
    raise SettingsError(
        f"it would listen on {address}, beyond this machine, without TLS: whoever is on the way "
        "could read and change passwords, keys and predictions. Set tls_certificate and tls_key, "
        "or, where the way is safe or a proxy ends TLS before this gateway, "
        "allow_plain_http = true (--allow-plain-http)"
    )


def name_of(host: str) -> str:
    """The name in a Host header, in lower case, or ""."""
    match = _HOST.fullmatch(host.strip())
    return match["name"].lower().removesuffix(".").strip("[]") if match else ""


def is_public_name(host: str) -> bool:
    """Whether a Host header has a name that is this server's alone: to browsers, what is said of
    localhost would be said of every server on their machine."""
    name = name_of(host)
    local = name == "localhost" or name.endswith(".localhost")
    return bool(name) and not local and not _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)

"""Which host names the gateway answers to, and on which addresses it may listen without TLS.

A foreign web page can make its own host name resolve to this machine (DNS rebinding). Its browser
then takes the gateway for that page's server, but sends the foreign name in `Host`. So the admin
API and the pages answer to known names only. An address in `Host` needs no list, because rebinding
needs a name. Calls of models answer to any name, as their clients expect.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from gateway.errors import Refusal
from gateway.settings import Settings, SettingsError

_HOST = re.compile(r"(?P<name>[^:\[\]]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
# Health checks reveal nothing that matters, so they work under any name.
_ANY_NAME = {"/livez", "/readyz", "/healthz"}


class AllowedHosts:
    """The host names that the gateway answers to."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name for each in names if (name := name_of(each)))

    def check(self, host: str, path: str) -> None:
        """Raises Refusal if `host`, a header's value, is an unknown name."""
        name = name_of(host)
        if name in self._names or name.endswith(".localhost") or path in _ANY_NAME:
            return
        if not _is_address(name):
            text = f"the gateway does not answer to the host name {host[:100]!r}"
            raise Refusal("request.host", text)


def hosts_of(settings: Settings, address: str) -> AllowedHosts:
    """The names of a gateway that listens at `address`, by its settings and its machine."""
    names = ["localhost", settings.host, *settings.allowed_hosts]
    if public := urlsplit(settings.public_url).netloc:
        names += [public, f"modelservice.{public}"]
    if not _is_loopback(address):
        names += [socket.gethostname(), f"{socket.gethostname().partition('.')[0]}.local"]
    return AllowedHosts(names)


def check_listen_address(settings: Settings, address: str) -> None:
    """Raises SettingsError for a listener beyond loopback without TLS that no setting allows."""
    if settings.tls_certificate or settings.allow_plain_http or _is_loopback(address):
        return
    raise SettingsError(
        f"cannot listen on {address}: it is beyond this machine and TLS is off, so others could "
        "read and change passwords, keys and predictions. Set tls_certificate and tls_key. If the "
        "network is trusted or a proxy ends TLS, set allow_plain_http = true (--allow-plain-http)"
    )


def name_of(host: str) -> str:
    """The name in a Host header, in lower case, or ""."""
    match = _HOST.fullmatch(host.strip())
    return match["name"].lower().removesuffix(".").strip("[]") if match else ""


def is_public_name(host: str) -> bool:
    """Whether a Host header has a name of this server alone. For browsers, a policy for localhost
    would apply to every server on their machine."""
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

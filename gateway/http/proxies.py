"""The client of a request that a trusted reverse proxy forwards.

A proxy sends requests of many clients on one connection, so the client is found for each request.
Only a peer in `trusted_proxies` is trusted. It names the client in `X-Forwarded-For` or in
`Forwarded` (RFC 7239), where each proxy appends the address of its own client. Entries are read
from the right, and the first address that is not a trusted proxy is the client. Entries further
left come from the client itself and are ignored. `X-Forwarded-Host` is not read: the host name that
clients use is a setting, `public_url`.

Pure. The result depends on the headers and the settings alone, so it is cached by the headers.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.http.host_check import name_of
from gateway.http.request_head import ProtocolError

# Proxies in a chain; reading one entry takes some 5 us.
_MOST_HOPS = 16
_LONGEST_FORWARDED = 1024
# The cache takes some 300 KiB at most.
_CACHED = 1024
_LONGEST_CACHED = 200

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'
_PAIR = re.compile(rf"({_TOKEN})=({_TOKEN}|{_QUOTED})")
_BETWEEN_PAIRS = re.compile(r"[ \t]*;[ \t]*")
_BETWEEN_HOPS = re.compile(r"[ \t]*,[ \t,]*")
# An address in these headers: IPv6 may have brackets, both may have a port.
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9_a-z]{1,5})?|([0-9A-Fa-f:.]+)")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Source(NamedTuple):
    """What a trusted proxy reports: the client's `address`, "" if there is none, and whether the
    client used TLS."""

    address: str = ""
    secure: bool = False


class Proxies:
    """The trusted proxies, and the public URL. `public_url` has no path."""

    def __init__(self, trusted: Iterable[str] = (), public_url: str = "") -> None:
        self._trusted = [ipaddress.ip_network(each) for each in trusted]
        public = urlsplit(public_url)
        self.public_url = public_url
        self._public_name = public.hostname or ""
        self._public_is_secure = public.scheme == "https"
        self._read_cached = lru_cache(_CACHED)(self._read)

    def __bool__(self) -> bool:
        return bool(self._trusted)

    def trusts(self, peer: str) -> bool:
        """Whether the peer at this address may name the client."""
        return bool(self._trusted) and bool(peer) and self._is_trusted(ipaddress.ip_address(peer))

    def source(self, headers: Mapping[str, str]) -> Source:
        """The client of this request, as a trusted peer reports it. `headers` are those of a Head.

        Raises ProtocolError if it is unclear which header the proxy wrote.
        """
        listed, forwarded = headers.get("x-forwarded-for"), headers.get("forwarded")
        protos = headers.get("x-forwarded-proto")
        usual = sum(len(each or "") for each in (listed, forwarded, protos)) <= _LONGEST_CACHED
        return (self._read_cached if usual else self._read)(listed, protos, forwarded)

    def is_public(self, headers: Mapping[str, str]) -> bool:
        """Whether this request of an untrusted peer came over TLS after all: it has the public
        name, which can only be reached that way."""
        return self._public_is_secure and name_of(headers.get("host", "")) == self._public_name

    def _read(self, listed: str | None, protos: str | None, forwarded: str | None) -> Source:
        if forwarded is None:
            hops = _read_lists(listed, protos)
        elif listed is None:
            hops = _read_forwarded(forwarded)
        else:
            raise ProtocolError(
                400,
                "the request has both Forwarded and X-Forwarded-For. Configure the proxy to drop "
                "the one that it does not write",
            )
        address, proto = self._client(hops)
        return Source(address, proto == "https" or self._public_is_secure)

    def _client(self, hops: list[tuple[str, str]]) -> tuple[str, str]:
        """The last hop, from the right, that a trusted proxy added."""
        address = proto = ""
        for node, its_proto in reversed(hops[-_MOST_HOPS:]):
            found = _read_node(node)
            if found is None:
                # "unknown", an obfuscated name, or junk: the proxy that wrote it is the last known
                # address.
                break
            address, proto = str(found), its_proto
            if not self._is_trusted(found):
                break
        return address, proto or (hops[-1][1] if hops else "")

    def _is_trusted(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def plain(address: str) -> str:
    """The canonical form of an address: IPv4 without the IPv6 mapping of a dual-stack socket,
    link-local without the interface."""
    if ":" not in address:
        return address
    return str(_unmapped(ipaddress.ip_address(address.partition("%")[0])))


def _read_lists(listed: str | None, protos: str | None) -> list[tuple[str, str]]:
    """The hops of X-Forwarded-For, each with its entry in X-Forwarded-Proto, to which some proxies
    append and which others replace."""
    nodes = [each.strip(" \t") for each in (listed or "").rsplit(",", _MOST_HOPS)]
    schemes = [each.strip(" \t").lower() for each in (protos or "").rsplit(",", _MOST_HOPS)]
    schemes = [schemes[0]] * (len(nodes) - len(schemes)) + schemes[-len(nodes) :]
    return list(zip(nodes, schemes, strict=True))


def _read_forwarded(value: str) -> list[tuple[str, str]]:
    """The hops of Forwarded, as (for, proto). Raises ProtocolError."""
    hops, pairs, at = list[tuple[str, str]](), dict[str, str](), 0
    while len(value) <= _LONGEST_FORWARDED and (match := _PAIR.match(value, at)):
        name, text = match[1].lower(), match[2]
        if name in pairs:
            break
        pairs[name] = re.sub(r"\\(.)", r"\1", text[1:-1]) if text[0] == '"' else text
        if between := _BETWEEN_PAIRS.match(value, match.end()):
            at = between.end()
            continue
        hops.append((pairs.get("for", ""), pairs.get("proto", "").lower()))
        if match.end() == len(value):
            return hops
        if not (between := _BETWEEN_HOPS.match(value, match.end())):
            break
        at, pairs = between.end(), {}
    raise ProtocolError(400, "the Forwarded header does not follow RFC 7239")


def _read_node(node: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    match = _NODE.fullmatch(node)
    if match is None:
        return None
    try:
        return _unmapped(ipaddress.ip_address(match[1] or match[2] or match[3]))
    except ValueError:
        return None


def _unmapped(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return getattr(address, "ipv4_mapped", None) or address

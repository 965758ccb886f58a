"""Proxies: a trusted proxy names the client of a request, and can claim nothing else."""

from dataclasses import dataclass

import pytest

from gateway.http.model_connection import ModelConnection
from gateway.http.proxies import Proxies, Source, plain
from gateway.http.request_head import ProtocolError
from gateway.settings import SettingsError, load
from tests.support.http_stage import LIMIT, MEMORY, Stage, post

PROXIES = Proxies(["127.0.0.1", "10.0.0.0/8", "fd00::/8"])


def source(**headers: str) -> Source:
    return PROXIES.source({name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("listed", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("198.51.100.9, 192.0.2.1", "192.0.2.1"),  # the first one is the client's own claim
        ("192.0.2.1, 10.0.0.5, 10.0.0.6", "192.0.2.1"),  # proxies behind one another
        ("198.51.100.9, 192.0.2.1, 10.0.0.6", "192.0.2.1"),
        ("10.0.0.5, 10.0.0.6", "10.0.0.5"),  # a client beside the proxies
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, ::ffff:10.0.0.6", "192.0.2.1"),
        # What is no address ends the search at the proxy that said so.
        ("unknown", ""),
        ("192.0.2.1, junk", ""),
        ("192.0.2.1, unknown, 10.0.0.6", "10.0.0.6"),
        ("192.0.2.1,", ""),
        ("", ""),
        ("fe80::1%eth0", ""),
        ("1.2.3", ""),
        ("junk\x85, 192.0.2.1", "192.0.2.1"),
        (", ".join(["192.0.2.1"] + ["10.0.0.6"] * 5000), "10.0.0.6"),
    ],
)
def test_client_is_the_right_most_untrusted_address(listed: str, address: str) -> None:
    """Entries further left, and entries that are no address, do not count."""
    assert source(x_forwarded_for=listed).address == address


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("for=192.0.2.1", Source("192.0.2.1")),
        ("For=192.0.2.1;Proto=HTTPS;by=10.0.0.1;host=x", Source("192.0.2.1", True)),
        ('for="[2001:db8::1]:4711";proto=https', Source("2001:db8::1", True)),
        ("for=198.51.100.9, for=192.0.2.1;proto=https, for=10.0.0.6", Source("192.0.2.1", True)),
        ('for="\\1\\92.0.2.1" ; proto=https', Source("192.0.2.1", True)),
        ("for=unknown;proto=https", Source("", True)),
        ('for="_hidden, really"', Source()),
        ("proto=https", Source("", True)),
    ],
)
def test_forwarded(forwarded: str, expected: Source) -> None:
    """The same for the header of RFC 7239, with quotes, ports and brackets."""
    assert source(forwarded=forwarded) == expected


@pytest.mark.parametrize(
    "forwarded",
    [
        "for",
        "for=",
        "for=a b",
        "for=1.2.3.4;",
        "for=1.2.3.4;for=5.6.7.8",
        'for="1.2.3.4',
        'for="1.2.3.4"x',
        "=1.2.3.4",
        ",",
        "for=1.2.3.4," * 400 + "for=1.2.3.4",
    ],
)
def test_malformed_forwarded_is_refused(forwarded: str) -> None:
    """A header that does not match the grammar, or is too long."""
    with pytest.raises(ProtocolError, match="RFC 7239"):
        source(forwarded=forwarded)


def test_both_headers_are_refused() -> None:
    """One may be the client's own; the message says what the operator has to do."""
    with pytest.raises(ProtocolError, match="drop the one"):
        source(forwarded="for=192.0.2.1", x_forwarded_for="192.0.2.1")


@pytest.mark.parametrize(
    ("listed", "proto", "secure"),
    [
        ("192.0.2.1", "https", True),
        ("192.0.2.1", "HTTPS", True),
        ("192.0.2.1", "http", False),
        ("192.0.2.1", "ftp", False),
        ("192.0.2.1, 10.0.0.6", "https", True),  # of proxies that replace
        ("192.0.2.1, 10.0.0.6", "https, http", True),  # and of those that append
        ("192.0.2.1", "https, http", False),  # the first one is the client's own claim
        ("", "https", True),
    ],
)
def test_proxy_reports_tls(listed: str, proto: str, secure: bool) -> None:
    """The proxy that the client connected to names the protocol."""
    assert source(x_forwarded_for=listed, x_forwarded_proto=proto).secure is secure


def test_https_public_url_implies_tls() -> None:
    """With an https public URL, requests of the proxy and requests for the public name came over
    TLS; other names imply nothing."""
    public = Proxies(["127.0.0.1"], "https://models.test:8443")
    assert public.source({"x-forwarded-for": "192.0.2.1"}).secure
    assert public.source({"x-forwarded-proto": "http"}).secure
    assert public.is_public({"host": "Models.test:8443"})
    assert not public.is_public({"host": "localhost:8080"})
    assert not Proxies([], "http://models.test").is_public({"host": "models.test"})
    assert not Proxies().is_public({"host": ""})


def test_trusted_peers() -> None:
    """Addresses and networks of the setting, and none by default."""
    assert PROXIES.trusts("127.0.0.1")
    assert PROXIES.trusts("10.2.3.4")
    assert PROXIES.trusts("fd00::1")
    assert not PROXIES.trusts("127.0.0.2")
    assert not PROXIES.trusts("192.0.2.1")
    assert not PROXIES.trusts("")
    assert not Proxies().trusts("127.0.0.1")


def test_address_is_canonical() -> None:
    """IPv4 on a dual-stack socket is IPv4; the interface is left out."""
    assert plain("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain("fe80::1%eth0") == "fe80::1"
    assert plain("192.0.2.1") == "192.0.2.1"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://Models.Example.org/", "https://models.example.org"),
        ("https://models.example.org:443", "https://models.example.org"),
        ("http://models.example.org:8080", "http://models.example.org:8080"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_public_url_is_canonical(given: str, kept: str) -> None:
    """It is stored in one form."""
    assert load({"public_url": given}, None, {}).public_url == kept


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("public_url", "models.example.org", "like https://models.example.org"),
        ("public_url", "https://models.example.org/predictd", "a host name or a port of its own"),
        ("public_url", "https://user@models.example.org", "like https://models.example.org"),
        ("public_url", "https://models.example.org:0", "1 to 65535"),
        ("public_url", "ftp://models.example.org", "like https://models.example.org"),
        ("trusted_proxies", "proxy.example.org", "a proxy is like 10.0.0.5"),
        ("trusted_proxies", "10.0.0.5/8", "has host bits set"),
        ("trusted_proxies", "10.0.0.1,0.0.0.0/0", "contains all addresses"),
    ],
)
def test_invalid_settings_are_refused(name: str, value: str, advice: str) -> None:
    """The message says what would be valid."""
    with pytest.raises(SettingsError, match=advice):
        load({name: value}, None, {})


@dataclass
class Play:
    """Calls on one connection of a peer, and the client of each."""

    stage: Stage
    peer: str

    def flows(self, *claims: str) -> list[str]:
        client = self.stage.client(self.peer)
        found = []
        for claim in claims:
            client.send(post(1, f"X-Forwarded-For: {claim}"))
            found.append(self.stage.pool.seen[-1].flow)
            self.stage.pool.answer()
        return found


def test_each_request_has_its_own_client() -> None:
    """Requests on one connection of a proxy count for their own clients, also with equal heads;
    without a trusted proxy all count for the peer."""
    claims = ("192.0.2.1", "192.0.2.2", "junk", "192.0.2.1")
    stage = Stage()
    assert Play(stage, "10.9.0.1").flows(*claims) == [
        "192.0.2.1",
        "192.0.2.2",
        "10.9.0.1",
        "192.0.2.1",
    ]
    assert Play(stage, "10.0.0.1").flows(*claims) == ["10.0.0.1"] * 4
    assert Play(stage, "10.9.0.2").flows("192.0.2.1", "junk") == ["192.0.2.1", "10.9.0.2"]


def test_both_headers_are_400() -> None:
    """A proxy that forwards a client's own header beside its own gets 400."""
    stage = Stage()
    both = post(1, "X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.2")
    (answer,) = stage.client("10.9.0.1").send(both).answers()
    assert answer.status == 400
    assert "Configure the proxy to drop" in answer.json["error"]["message"]
    stage.client("10.0.0.1").send(both)
    assert stage.pool.seen[-1].flow == "10.0.0.1"


def test_junk_counts_for_the_proxy() -> None:
    """Junk after a request is not attributed to the client of that request."""
    stage = Stage()
    client = stage.client("10.9.0.1")
    client.send(post(1, "X-Forwarded-For: 192.0.2.1"))
    stage.pool.answer()
    client.send(b"junk\r\n\r\n")
    assert isinstance(client.connection, ModelConnection)
    assert client.connection.flow == "10.9.0.1"


def test_bodies_share_memory_by_client() -> None:
    """Memory of bodies is shared between clients, not between the connections of a proxy."""
    stage = Stage()
    for number in range(2):
        stage.client("10.9.0.1").send(
            f"POST /model HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.{number}\r\n"
            f"Content-Length: {LIMIT}\r\n\r\n".encode()
        )
    assert stage.memory.free == MEMORY - 2 * LIMIT

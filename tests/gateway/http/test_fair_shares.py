"""Fair shares: the more a client has taken, the less it may add."""

from gateway.http.fair_shares import FairShares


def fill(shares: FairShares, who: str) -> int:
    """Takes units until this client gets no more; returns their number."""
    taken = 0
    while shares.take(who, 1):
        taken += 1
    return taken


def test_one_client_gets_half_and_the_next_half_of_the_rest() -> None:
    """The last units are for clients that have least."""
    shares = FairShares(10_000)
    assert [fill(shares, f"192.0.2.{number}") for number in range(4)] == [5000, 2500, 1250, 625]
    assert shares.free == 625


def test_many_networks_of_one_site_are_one() -> None:
    """IPv6 networks within one /48 get together what one client gets."""
    shares = FairShares(1000)
    assert fill(shares, "2001:db8:1::/64") == 500
    assert sum(fill(shares, f"2001:db8:1:{number:x}::/64") for number in range(1, 1000)) == 0
    assert fill(shares, "2001:db8:2::/64") == 250


def test_single_unit_is_taken() -> None:
    """A total of one unit can be taken."""
    shares = FairShares(1)
    assert shares.take("a", 1)
    assert not shares.take("b", 1)


def test_client_without_units_is_forgotten() -> None:
    """A client that returned all is forgotten; one that has units keeps them after a resize."""
    shares = FairShares(100)
    for who in ("a", "2001:db8::/64", ""):
        assert shares.take(who, 10)
    shares.resize(10)
    assert shares.free == -20
    assert not shares.take("b", 1)
    for who in ("a", "2001:db8::/64", ""):
        shares.give(who, 10)
    assert shares.free == 10
    assert not shares._taken

"""What clients share: the more a client holds, the less more it gets."""

from gateway.http.fair_shares import FairShares


def fill(shares: FairShares, who: str) -> int:
    """Takes places until there is none for this client; how many they were."""
    taken = 0
    while shares.take(who, 1):
        taken += 1
    return taken


def test_one_client_gets_half_and_the_next_half_of_the_rest() -> None:
    """However many come, the last places are for those who hold least."""
    shares = FairShares(10_000)
    assert [fill(shares, f"192.0.2.{number}") for number in range(4)] == [5000, 2500, 1250, 625]
    assert shares.free == 625


def test_many_networks_of_one_site_are_one() -> None:
    """Networks of IPv6 within one /48 get together what one client gets, and leave the rest."""
    shares = FairShares(1000)
    assert fill(shares, "2001:db8:1::/64") == 500
    assert sum(fill(shares, f"2001:db8:1:{number:x}::/64") for number in range(1, 1000)) == 0
    assert fill(shares, "2001:db8:2::/64") == 250


def test_a_single_place() -> None:
    """Also where there is only one place a client gets it."""
    shares = FairShares(1)
    assert shares.take("a", 1)
    assert not shares.take("b", 1)


def test_what_is_given_back_is_forgotten() -> None:
    """A client that holds nothing is forgotten; one that has room keeps it after a resize."""
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

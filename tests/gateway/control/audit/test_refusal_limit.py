"""Refusals of unknown users: a few are entered, the others are counted."""

from gateway.control.audit.refusal_limit import (
    ADDRESSES,
    PER_ADDRESS,
    TOTAL,
    WINDOW,
    AnonymousRefusalLimiter,
)


def test_the_first_few_of_an_address_are_entered() -> None:
    """Further refusals are counted until the window ends; then a new one begins."""
    crowd = AnonymousRefusalLimiter(0.0)
    admitted = [crowd.admit("192.0.2.1") for _ in range(1000)]
    assert admitted == [True] * PER_ADDRESS + [False] * (1000 - PER_ADDRESS)
    assert crowd.admit("192.0.2.2")
    assert crowd.ends == WINDOW
    assert crowd.drain(WINDOW) == {"192.0.2.1": 1000 - PER_ADDRESS}
    assert crowd.drain(WINDOW) == {}
    assert crowd.ends == 2 * WINDOW
    assert crowd.admit("192.0.2.1")


def test_the_number_of_addresses_is_bounded() -> None:
    """For any number of addresses, entries and counts are few, and no refusal is lost."""
    crowd = AnonymousRefusalLimiter(0.0)
    asked = [f"10.{n // 256}.{n % 256}.1" for n in range(5000)] * 3
    entered = sum(crowd.admit(address) for address in asked)
    assert entered <= TOTAL
    counted = crowd.drain(WINDOW)
    assert len(counted) <= ADDRESSES + 1
    assert entered + sum(counted.values()) == len(asked)


def test_a_host_of_ipv6_has_many_addresses() -> None:
    """All addresses of one network are entered as one."""
    crowd = AnonymousRefusalLimiter(0.0)
    assert sum(crowd.admit(f"2001:db8::{n:x}") for n in range(100)) == PER_ADDRESS
    assert crowd.drain(WINDOW) == {"2001:db8::/64": 100 - PER_ADDRESS}

"""The key index: which keys are accepted, and that a refusal's duration reveals nothing."""

import hmac
import time

import pytest

from gateway.errors import Refusal
from gateway.identity import keys
from gateway.identity.key_index import IndexedKey, KeyIndex
from gateway.identity.keys import GeneratedKey, new_key
from store import Key
from tests.faults.matrix import fault

MAY_CALL = frozenset({"ada"})


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def let_in(callers: KeyIndex, *, user: str = "ada", expires: float = float("inf")) -> GeneratedKey:
    """A key that opens the door until then."""
    new = new_key("model")
    callers.put(Key(id=new.id, kind="model", user_id=user, digest=new.digest), expires)
    return new


def refused(callers: KeyIndex, text: str, known: IndexedKey | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        callers.check(known, text, "m", MAY_CALL)
    return caught.value


def test_who_is_known_is_not_looked_up() -> None:
    """A key that was accepted before is accepted by a few look-ups, without hashing it."""
    callers = KeyIndex()
    key = let_in(callers)
    caller = callers.check(None, key.text, "m", MAY_CALL)
    assert callers.check(caller, "not even read", "m", MAY_CALL) is caller


def test_who_is_known_and_no_longer_good() -> None:
    """The memory of a key does not outlive it; a key that is accepted again is remembered again."""
    clock = Clock()
    callers = KeyIndex(clock)
    over, revoked = let_in(callers, expires=200.0), let_in(callers)
    known = [callers.check(None, key.text, "m", MAY_CALL) for key in (over, revoked)]
    clock.now = 200.0
    callers.revoke(revoked.id)
    for caller, key in zip(known, (over, revoked), strict=True):
        assert refused(callers, key.text, caller).code == "model.unauthorized"
    callers.put(Key(id=revoked.id, kind="model", user_id="ada", digest=revoked.digest), 300.0)
    again = callers.check(known[1], revoked.text, "m", MAY_CALL)
    assert not again.revoked
    assert again is not known[1]


def test_who_may_not() -> None:
    """A valid key of another user gets another refusal: its holder knows that it is valid."""
    callers = KeyIndex()
    key = let_in(callers, user="bob")
    assert refused(callers, key.text).code == "model.forbidden"


@fault(
    "keys tried out",
    injection="wrong, unknown, revoked, expired",
    bound="the same work, the same words",
)
def test_refusals_cannot_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong secret, an unknown id, a revoked and an expired key, remembered or not, are answered
    in the same words after the same work: one hash and one comparison, both of the same length."""
    clock = Clock()
    callers = KeyIndex(clock)
    good, revoked, over = let_in(callers), let_in(callers), let_in(callers, expires=200.0)
    known = [callers.check(None, key.text, "m", MAY_CALL) for key in (revoked, over)]
    callers.revoke(revoked.id)
    clock.now = 200.0
    unknown = new_key("model")
    work: list[tuple[str, int]] = []
    hashed, compared = keys.digest_of, hmac.compare_digest

    def digest_of(secret: str) -> str:
        work.append(("hash", len(secret)))
        return hashed(secret)

    def compare_digest(one: str, other: str) -> bool:
        work.append(("compare", len(one) + len(other)))
        return compared(one, other)

    monkeypatch.setattr(keys, "digest_of", digest_of)
    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    secret = good.text.partition(".")[2]
    tried = {
        "wrong": (f"{good.id}.{secret[:-1]}x", None),
        "wrong from its beginning": (f"{good.id}.x{secret[1:]}", None),
        "unknown": (unknown.text, None),
        "revoked": (revoked.text, None),
        "revoked, remembered": (revoked.text, known[0]),
        "expired": (over.text, None),
        "expired, remembered": (over.text, known[1]),
    }
    told = set()
    for name, (text, caller) in tried.items():
        work.clear()
        refusal = refused(callers, text, caller)
        told.add((refusal.code, str(refusal)))
        assert work == [("hash", 64), ("compare", 128)], name
    assert len(told) == 1


def test_time_is_the_wall_clocks() -> None:
    """A key expires at its date, not so long after the gateway's start."""
    callers = KeyIndex()
    assert callers.find_valid(let_in(callers, expires=time.time() + 60).text)
    assert callers.find_valid(let_in(callers, expires=time.time() - 60).text) is None

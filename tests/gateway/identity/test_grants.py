"""Grants: an answer ends with any of its rights, counts while it is sent, and leaves nothing."""

from contextlib import ExitStack
from functools import partial

from gateway.identity.grants import Grant, Grants, Principal, Right
from gateway.identity.key_index import KeyIndex
from store import Key, User

VIEW, EDIT = Right("project.view", "p"), Right("project.edit", "p")


class Answers:
    """Answers that are being sent, to Ada and Bob, and which of them were cut."""

    def __init__(self) -> None:
        self.lost: set[tuple[str, Right]] = set()
        self.grants = Grants(lambda who, right: (who.user.name, right) not in self.lost)
        self.cut: list[str] = []
        self.open = ExitStack()

    def send(self, name: str, *rights: Right) -> Grant:
        grant = self.open.enter_context(self.grants.one(partial(self.cut.append, name)))
        grant.principal = Principal(User(name=name), "api key", "")
        grant.rights.update(rights)
        grant.sending = True
        return grant


def test_an_answer_ends_with_any_of_its_rights() -> None:
    """One right that is gone is enough, once; the answers to others go on."""
    answers = Answers()
    answers.send("ada", VIEW, EDIT)
    answers.send("bob", VIEW, EDIT)
    answers.grants.review()
    assert answers.cut == []
    answers.lost.add(("ada", EDIT))
    for _ in range(2):
        answers.grants.review()
        assert answers.cut == ["ada"]


def test_what_is_sent_is_counted_by_flow() -> None:
    """Answers that are still being made, or cut, are not sent; each user has their own count."""
    answers = Answers()
    made = answers.send("ada", VIEW)
    for _ in range(2):
        answers.send("ada", EDIT)
    answers.send("bob", VIEW)
    made.sending = False
    assert [answers.grants.sending_to(name) for name in ("ada", "bob", "eve")] == [2, 1, 0]
    answers.lost.add(("ada", EDIT))
    answers.grants.review()
    assert [answers.grants.sending_to(name) for name in ("ada", "bob")] == [0, 1]


def test_an_answer_that_was_sent_leaves_nothing() -> None:
    """It counts no longer, and is not cut when its right ends later."""
    answers = Answers()
    answers.send("ada", VIEW)
    answers.open.close()
    answers.lost.add(("ada", VIEW))
    answers.grants.review()
    assert answers.cut == []
    assert answers.grants.sending_to("ada") == 0
    assert not answers.grants._grants


def test_a_key_is_live_until_its_time() -> None:
    """A grant ends at the moment that its key expires; another key continues."""
    now = [10.0]
    callers = KeyIndex(lambda: now[0])
    for name, expires in (("a", 20.0), ("b", 30.0)):
        callers.put(Key(id=name, kind="api", user_id="u", digest="d"), expires)
    now[0] = 19.9
    assert [callers.is_valid(name) for name in "abc"] == [True, True, False]
    now[0] = 20.0
    assert [callers.is_valid(name) for name in "ab"] == [False, True]

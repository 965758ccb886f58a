"""Signing in: passwords, throttled guesses, sessions and links that end."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from argon2 import PasswordHasher

from gateway.control.accounts.sign_in import LINK_SECONDS, SESSION_LIFE, Browser
from gateway.control.accounts.users import NewUser
from gateway.errors import Refusal
from gateway.identity.passwords import Passwords
from store import User, audit, sessions, users
from tests.support.control_stage import HERE, PASSWORD, Clock, ControlStage, opened


@pytest.fixture
def quick() -> Clock:
    """For a stage with hashes that cost little, and a throttle that goes by this clock."""
    return Clock()


@pytest.fixture
async def stage(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ControlStage]:
    clock = request.getfixturevalue("quick") if "quick" in request.fixturenames else None
    async with opened(tmp_path, ControlStage, clock) as stage:
        yield stage


@pytest.fixture
async def ada(stage: ControlStage) -> User:
    user, made = await stage.users.create(NewUser(name="Ada", password=PASSWORD))
    assert not made
    return user


async def test_sessions_that_are_over_go(stage: ControlStage, ada: User) -> None:
    """The next sign-in takes those that are over out of the store, and no others."""
    for _ in range(2):
        await stage.sign_in.sign_in("Ada", PASSWORD, HERE)
    stage.later = SESSION_LIFE.total_seconds() / 2
    await stage.sign_in.sign_in("Ada", PASSWORD, HERE)
    assert len(await stage.database.read(sessions.list_all)) == 3
    stage.later = SESSION_LIFE.total_seconds()
    await stage.sign_in.sign_in("Ada", PASSWORD, HERE)
    kept = await stage.database.read(sessions.list_all)
    assert [session.number for session in kept] == [3, 4]
    assert stage.accounts.sessions_of(ada) == kept


async def test_signing_in_and_out(stage: ControlStage, ada: User) -> None:
    """The password begins a session, in any case of the name; signing out ends that one alone."""
    directory = stage.accounts
    first = await stage.sign_in.sign_in("ADA", PASSWORD, HERE)
    second = await stage.sign_in.sign_in("Ada", PASSWORD, HERE)
    found = directory.session(first)
    assert found is not None
    assert found[1] == ada
    await stage.sign_in.sign_out(found[0])
    assert directory.session(first) is None
    assert directory.session(second) is not None


async def test_the_wrong_password(stage: ControlStage, ada: User) -> None:
    """Unknown, wrong and disabled are one answer; the sixth try has to wait, the right one too."""
    await stage.users.update(ada, {"disabled": True})
    said = set()
    for name in ("Ada", "nobody"):
        with pytest.raises(Refusal) as refused:
            await stage.sign_in.sign_in(name, PASSWORD, HERE)
        said.add((refused.value.code, refused.value.message))
    assert len(said) == 1
    await stage.users.update(ada, {"disabled": False})
    for _ in range(5):
        with pytest.raises(Refusal):
            await stage.sign_in.sign_in("Ada", "wrong", HERE)
    with pytest.raises(Refusal) as refused:
        await stage.sign_in.sign_in("Ada", PASSWORD, HERE)
    assert refused.value.code == "auth.throttled"
    assert int(refused.value.headers["Retry-After"]) >= 1
    assert await stage.sign_in.sign_in("Ada", PASSWORD, Browser("198.51.100.1", "elsewhere"))


async def test_another_password(stage: ControlStage, ada: User) -> None:
    """The old one is asked for; every session but the new one ends."""
    directory = stage.accounts
    before = await stage.sign_in.sign_in("Ada", PASSWORD, HERE)
    with pytest.raises(Refusal, match="not their password"):
        await stage.sign_in.change_password(ada, "wrong", "another one, longer", HERE)
    for bad in (PASSWORD, "", "short"):
        with pytest.raises(Refusal, match="password"):
            await stage.sign_in.change_password(ada, PASSWORD, bad, HERE)
    assert directory.session(before) is not None
    after = await stage.sign_in.change_password(ada, PASSWORD, "another one, longer", HERE)
    assert directory.session(before) is None
    assert directory.session(after) is not None


async def _keep_weakly(stage: ControlStage, user: User) -> User:
    """The user, with what is kept of the same password made with less care than today's."""
    kept = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    user = await stage.database.write(users.update, user.id, password=kept)
    stage.accounts.put_user(user)
    return user


async def test_what_is_kept_of_a_password_is_renewed(stage: ControlStage, ada: User) -> None:
    """The right password is kept with today's care from then on, once; sessions go on."""
    weak = await _keep_weakly(stage, ada)
    with pytest.raises(Refusal):
        await stage.sign_in.sign_in("Ada", "wrong", HERE)
    assert stage.accounts.user("Ada") == weak
    before = await stage.sign_in.redeem(stage.sign_in.new_link(weak), HERE)
    assert stage.accounts.user("Ada") == weak
    await stage.sign_in.sign_in("Ada", PASSWORD, HERE)
    renewed = await stage.database.read(users.get, weak.id)
    assert stage.accounts.user("Ada") == renewed
    assert not Passwords().is_outdated(renewed.password)
    again = await stage.sign_in.sign_in("Ada", PASSWORD, HERE)
    assert stage.accounts.user("Ada") == renewed
    assert stage.accounts.session(before) is not None
    assert stage.accounts.session(again) is not None


@pytest.mark.parametrize("is_outdated", [False, True])
async def test_a_password_changed_meanwhile(
    stage: ControlStage, ada: User, is_outdated: bool
) -> None:
    """Who began to sign in by the old password has no session by it, and does not bring it back."""
    user = await _keep_weakly(stage, ada) if is_outdated else ada
    refused = []

    async def try_old() -> None:
        with pytest.raises(Refusal) as refusal:
            await stage.sign_in.sign_in("Ada", PASSWORD, HERE)
        refused.append(refusal.value.code)

    async with trio.open_nursery() as nursery, stage.lock:
        nursery.start_soon(try_old)
        # It has looked at the password, and waits to write.
        while not stage.lock.statistics().tasks_waiting:  # noqa: ASYNC110
            await trio.sleep(0.001)
        changed = await stage.database.write(users.update, user.id, password="another")
        stage.accounts.put_user(changed)
    assert refused == ["auth.refused"]
    assert (await stage.database.read(users.get, user.id)).password == "another"


async def test_one_time_links(stage: ControlStage, ada: User, autojump_clock: object) -> None:
    """A link signs in once, and not for long."""
    token = stage.sign_in.new_link(ada)
    session = stage.accounts.session(await stage.sign_in.redeem(token, HERE))
    assert session is not None
    assert session[1] == ada
    late = stage.sign_in.new_link(ada)
    await trio.sleep(LINK_SECONDS + 1)
    for none in (token, late, "", "made up"):
        with pytest.raises(Refusal, match="this link"):
            await stage.sign_in.redeem(none, HERE)


async def test_sessions_survive_a_restart(tmp_path: Path) -> None:
    """Who was signed in still is; who signed out is not; keys and roles are what they were."""
    async with opened(tmp_path, ControlStage) as stage:
        user, _ = await stage.users.create(NewUser(name="Ada", password=PASSWORD))
        kept, ended = [await stage.sign_in.sign_in("Ada", PASSWORD, HERE) for _ in range(2)]
        session = stage.accounts.session(ended)
        assert session is not None
        await stage.sign_in.sign_out(session[0])
    async with opened(tmp_path, ControlStage) as stage:
        assert stage.accounts.session(kept) is not None
        assert stage.accounts.session(ended) is None
        assert stage.accounts.user("ada") == user


async def test_who_comes_and_goes_is_entered(stage: ControlStage, ada: User) -> None:
    """Signing in by any means, failing to, and signing out have entries, without secrets."""
    token = await stage.sign_in.sign_in("ADA", PASSWORD, HERE)
    for name, password in (("ada", "wrong"), (PASSWORD, "typed into the wrong field")):
        with pytest.raises(Refusal):
            await stage.sign_in.sign_in(name, password, HERE)
    link = stage.sign_in.new_link(ada)
    await stage.sign_in.redeem(link, HERE)
    with pytest.raises(Refusal):
        await stage.sign_in.redeem(link, HERE)
    found = stage.accounts.session(token)
    assert found is not None
    await stage.sign_in.sign_out(found[0])
    entries = await stage.database.read(audit.list_newest)
    assert [(e.who, e.action, e.object, e.outcome) for e in entries] == [
        ("Ada", "sign_in", "/users/Ada", "done"),
        ("", "sign_in", "/users/Ada", "auth.refused"),
        ("", "sign_in", "/users", "auth.refused"),
        ("Ada", "link.redeem", "/users/Ada", "done"),
        ("", "link.redeem", "/users", "auth.link_expired"),
        ("Ada", "sign_out", "/users/Ada", "done"),
    ]
    for secret in (PASSWORD, token, link, "wrong field"):
        assert secret not in str(entries)


async def _guess(stage: ControlStage, name: str, *browsers: Browser) -> list[str]:
    """What wrong passwords for a name are answered, from each of these places at once."""
    answers: list[str] = []

    async def guess(browser: Browser) -> None:
        with pytest.raises(Refusal) as refused:
            await stage.sign_in.sign_in(name, "wrong", browser)
        answers.append(refused.value.code)

    async with trio.open_nursery() as nursery:
        for browser in browsers:
            nursery.start_soon(guess, browser)
    return answers


EVERYWHERE = [Browser(f"203.0.113.{number}", "a bot") for number in range(120)]


@pytest.mark.parametrize("name", ["Ada", "nobody"])
async def test_guesses_from_everywhere_are_slowed_down(
    quick: Clock, stage: ControlStage, ada: User, name: str
) -> None:
    """Wrong passwords from 120 networks are one guesser's, for a name that is there or not; from a
    network and with a browser in which she signed in, the user is not locked out."""
    device = stage.sign_in.new_device(await stage.sign_in.sign_in("Ada", PASSWORD, HERE))
    answers = await _guess(stage, name, *EVERYWHERE)
    assert answers.count("auth.refused") == 11
    assert answers.count("auth.throttled") == 109
    with pytest.raises(Refusal, match=r"wait \d+ s"):
        await stage.sign_in.sign_in(name, PASSWORD, Browser("198.51.100.1", "elsewhere"))
    assert await stage.sign_in.sign_in("Ada", PASSWORD, HERE)
    assert await stage.sign_in.sign_in("Ada", PASSWORD, Browser("198.51.100.1", "x", device))


@pytest.mark.parametrize("known_by", ["nothing", "the network", "a cookie"])
async def test_many_guesses_at_once_are_many(
    quick: Clock, stage: ControlStage, ada: User, monkeypatch: pytest.MonkeyPatch, known_by: str
) -> None:
    """Of 40 wrong passwords that come at once from one place as many are looked at as of 40 that
    come one after the other, though the hashing would take all of them."""
    monkeypatch.setattr("gateway.control.accounts.password_hashing.MOST_WAITING", 10_000)
    browser = HERE
    if known_by != "nothing":
        device = stage.sign_in.new_device(await stage.sign_in.sign_in("Ada", PASSWORD, HERE))
        if known_by == "a cookie":
            browser = Browser("198.51.100.1", "x", device)
    answers = await _guess(stage, "Ada", *[browser] * 40)
    assert (answers.count("auth.refused"), answers.count("auth.throttled")) == (6, 34)
    with pytest.raises(Refusal, match=r"wait \d+ s"):
        await stage.sign_in.sign_in("Ada", PASSWORD, browser)


async def test_many_guesses_at_once_in_a_session(
    quick: Clock, stage: ControlStage, ada: User
) -> None:
    """The same is true of the old password that a change asks for; and of two users each has
    their own tries."""
    other, _ = await stage.users.create(NewUser(name="Bob", password=PASSWORD))
    answers: list[str] = []

    async def guess() -> None:
        with pytest.raises(Refusal) as refused:
            await stage.sign_in.change_password(ada, "wrong", "x" * 12, HERE)
        answers.append(refused.value.code)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(guess)
    assert (answers.count("auth.refused"), answers.count("auth.throttled")) == (6, 14)
    assert await stage.sign_in.change_password(other, PASSWORD, "x" * 12, HERE)


async def test_networks_are_one_each(quick: Clock, stage: ControlStage, ada: User) -> None:
    """Addresses that one client can choose among do not make it many."""
    for addresses in ("2001:db8::{:x}", "127.0.0.{}"):
        browsers = [Browser(addresses.format(number + 1), "a bot") for number in range(50)]
        names = [f"{addresses} {number}" for number in range(50)]
        answers = []
        for name, browser in zip(names, browsers, strict=True):
            answers += await _guess(stage, name, browser)
        assert answers[30:].count("auth.throttled") >= 15


async def test_a_device_is_one_user_s(quick: Clock, stage: ControlStage, ada: User) -> None:
    """The cookie of a browser counts for its user alone, cannot be made up, and is throttled."""
    await stage.users.create(NewUser(name="Bob", password=PASSWORD))
    device, other = [
        stage.sign_in.new_device(await stage.sign_in.sign_in("Ada", PASSWORD, HERE))
        for _ in range(2)
    ]
    for name in ("Ada", "Bob"):
        await _guess(stage, name, *EVERYWHERE[:20])
    forged = device[:-1] + ("0" if device[-1] != "0" else "1")
    for name, cookie in (("Bob", device), ("Ada", forged), ("Ada", "x"), ("nobody", device)):
        browser = Browser("198.51.100.1", "x", cookie)
        _, known = stage.sign_in._keys(name, browser)
        assert not known
    stolen = Browser("198.51.100.1", "x", device)
    answers = await _guess(stage, "Ada", *[stolen] * 8)
    assert answers.count("auth.throttled") == 2
    assert await stage.sign_in.sign_in("Ada", PASSWORD, Browser("198.51.100.2", "x", other))


async def test_devices_do_not_outlive_the_password(
    quick: Clock, stage: ControlStage, ada: User
) -> None:
    """A former holder of a password who collected many cookies with it guesses the next one no
    faster than a stranger; the browser in which it was changed is known."""
    collected = [
        stage.sign_in.new_device(await stage.sign_in.sign_in("Ada", PASSWORD, EVERYWHERE[0]))
        for _ in range(30)
    ]
    token = await stage.sign_in.change_password(ada, PASSWORD, "another one, longer", HERE)
    there = [Browser(f"198.51.100.{n}", "x", each) for n, each in enumerate(collected)]
    answers = await _guess(stage, "Ada", *there)
    assert answers.count("auth.refused") == 11
    assert answers.count("auth.throttled") == 19
    device = stage.sign_in.new_device(token)
    assert stage.sign_in._keys("Ada", Browser("198.51.100.1", "x", device))[1]
    await stage.users.set_password(ada, "yet another, longer", must_change=True)
    assert stage.sign_in.new_device(token) == ""


async def test_the_sessions_of_a_user_are_bounded(
    quick: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest ends with one more, also after a restart; those of others go on."""
    monkeypatch.setattr("gateway.control.accounts.sign_in.MOST_SESSIONS", 3)
    async with opened(tmp_path, ControlStage) as stage:
        for name in ("Ada", "Bob"):
            await stage.users.create(NewUser(name=name, password=PASSWORD))
        bobs = await stage.sign_in.sign_in("Bob", PASSWORD, HERE)
        tokens = [await stage.sign_in.sign_in("Ada", PASSWORD, HERE) for _ in range(5)]
        there = [stage.accounts.session(each) is not None for each in [bobs, *tokens]]
        assert there == [True, False, False, True, True, True]
    async with opened(tmp_path, ControlStage) as stage:
        assert [stage.accounts.session(each) is not None for each in [bobs, *tokens]] == there


async def test_a_session_does_not_guess_the_password_faster(
    quick: Clock, stage: ControlStage, ada: User
) -> None:
    """The holder of a session has as few tries at the old password, from any network; and those
    tries do not keep the user from signing in."""
    for number in range(5):
        with pytest.raises(Refusal, match="not their password"):
            await stage.sign_in.change_password(ada, "wrong", "x" * 12, EVERYWHERE[number])
    await _guess(stage, "unrelated", HERE)
    with pytest.raises(Refusal, match="not their password"):
        await stage.sign_in.change_password(ada, "wrong", "x" * 12, EVERYWHERE[5])
    with pytest.raises(Refusal, match="wait"):
        await stage.sign_in.change_password(ada, PASSWORD, "x" * 12, HERE)
    assert await stage.sign_in.sign_in("Ada", PASSWORD, HERE)


async def test_a_crowd_does_not_keep_the_right_password_out(
    quick: Clock, stage: ControlStage, ada: User
) -> None:
    """While 40 strangers guess all sorts of names, the right password gets in from wherever."""
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(_guess, stage, f"name {number}", *[EVERYWHERE[number]] * 4)
        await trio.sleep(0.1)
        assert await stage.sign_in.sign_in("Ada", PASSWORD, Browser("198.51.100.1", "x"))
        assert await stage.sign_in.sign_in("Ada", PASSWORD, Browser("198.51.100.1", "x"))


async def test_known_networks_survive_a_restart(tmp_path: Path) -> None:
    """After a restart users are known where they have sessions, and their browsers for long."""
    async with opened(tmp_path, ControlStage) as stage:
        await stage.users.create(NewUser(name="Ada", password=PASSWORD))
        device = stage.sign_in.new_device(await stage.sign_in.sign_in("Ada", PASSWORD, HERE))
    async with opened(tmp_path, ControlStage) as stage:
        assert stage.sign_in._keys("Ada", HERE)[1]
        assert stage.sign_in._keys("Ada", Browser("198.51.100.1", "x", device))[1]
        assert not stage.sign_in._keys("Ada", Browser("198.51.100.1", "x"))[1]

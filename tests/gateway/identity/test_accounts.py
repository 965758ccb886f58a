"""The directory: what is told holds for the next question, of keys as of sessions and projects."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial

import msgspec
import pytest

from gateway.identity.accounts import Accounts
from gateway.identity.grants import Principal, Right
from gateway.identity.key_index import KeyIndex
from gateway.identity.keys import digest_of, new_key
from gateway.identity.permissions import MEANINGS, Permission, WorkloadKind
from store import Key, KeyKind, Membership, Model, Project, Role, Session, User, as_text, now
from tests.faults.matrix import fault

LATER = "2999-01-01T00:00:00.000000Z"


class Stage:
    """A directory with Ada, who owns the project p, and Bob, who has nothing."""

    def __init__(self) -> None:
        self.callers = KeyIndex()
        self.time = 1000.0
        self.directory = Accounts(self.callers, clock=lambda: self.time)
        self.ada = User(id="a", number=1, name="Ada")
        self.bob = User(id="b", number=2, name="bob")
        for user in (self.ada, self.bob):
            self.directory.put_user(user)
        self.project = Project(id="p", name="p", path="/p", linked=False, creator="Ada")
        self.directory.put_project(self.project)
        self.members(("a", "owner"))

    def members(self, *members: tuple[str, Role]) -> None:
        each = [Membership(project_id="p", user_id=u, role=r) for u, r in members]
        self.directory.put_members("p", each)

    def key(self, user: User, kind: KeyKind = "api", expires_at: str | None = None) -> str:
        made = new_key(kind)
        key = Key(id=made.id, kind=kind, user_id=user.id, digest=made.digest, expires_at=expires_at)
        self.directory.put_key(key)
        return made.text

    def model(self, **more: object) -> Model:
        facts = {"name": "m", "project_id": "p", "cpu_millicores": 1, "memory_mb": 1}
        return Model(**facts | {"replicas": 1, "creator": "Ada"} | more)  # type: ignore[arg-type]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def asks(stage: Stage, text: str) -> tuple[User, str, str] | None:
    """The user of this key, the kind of key, and its project if it is bounded by one."""
    found = stage.directory.principal(text, "192.0.2.1")
    return (found.user, found.by, found.within) if found else None


def workload(
    stage: Stage, user: User, project_id: str = "p", kind: WorkloadKind = "model"
) -> tuple[Key, str]:
    """The key of a workload that acts for a user, and its text."""
    made = new_key("workload")
    key = Key(id=made.id, kind="workload", user_id=user.id, digest=made.digest)
    stage.directory.put_workload(key, project_id, kind)
    return key, made.text


def test_workload_key(stage: Stage) -> None:
    """A workload's key is not a key of its user; it acts for the user in one project."""
    key, text = workload(stage, stage.ada)
    assert asks(stage, text) == (stage.ada, "workload key", "p")
    assert stage.directory.keys_of(stage.ada) == []
    disabled = msgspec.structs.replace(stage.ada, disabled=True)
    stage.directory.put_user(disabled)
    assert asks(stage, text) is None
    stage.directory.put_user(stage.ada)
    assert asks(stage, text) == (stage.ada, "workload key", "p")
    stage.directory.forget_workload(key.id)
    assert asks(stage, text) is None
    _, text = workload(stage, stage.ada)
    stage.directory.forget_user(stage.ada)
    assert asks(stage, text) is None


@pytest.mark.parametrize(
    ("kind", "opens"),
    [
        ("model", {"project.view", "model.call", "metrics.add"}),
        ("run", {"project.view", "model.call", "metrics.add", "model.operate", "project.edit"}),
    ],
)
def test_workload_permissions(stage: Stage, kind: WorkloadKind, opens: set[Permission]) -> None:
    """A run builds and deploys in its project as its user may; a model only looks, calls and
    measures; neither does anything elsewhere, or says who may do what."""
    _, text = workload(stage, stage.ada, kind=kind)
    asking = stage.directory.principal(text, "192.0.2.1")
    assert asking is not None

    def allowed(project_id: str) -> set[Permission]:
        return {n for n in MEANINGS if stage.directory.allows(asking, Right(n, project_id))}

    mays = {needs for needs in MEANINGS if stage.directory.may(stage.ada, *Right(needs, "p"))}
    assert allowed("p") == (opens & mays) | {"any"}
    assert opens & mays == opens
    assert allowed("q") == {"any"}


def test_models_that_a_workload_may_call(stage: Stage) -> None:
    """A workload calls models of its own project that its user may call, and no others."""
    own, _ = workload(stage, stage.ada)
    bobs, _ = workload(stage, stage.bob)
    workload(stage, stage.ada, "q")
    private = stage.directory.may_call(stage.model())
    public = stage.directory.may_call(stage.model(visibility="public"))
    assert private == frozenset({"a", own.id})
    assert public == frozenset({"a", "b", own.id, bobs.id})


def test_names_in_any_case(stage: Stage) -> None:
    """A user is found by their name in any case; under an old name no user is."""
    assert stage.directory.user("aDA") == stage.ada
    stage.directory.put_user(msgspec.structs.replace(stage.ada, name="Augusta"))
    assert stage.directory.user("ada") is None


def test_keys_and_their_holders(stage: Stage) -> None:
    """A key is its holder's; one that is expired, revoked or only for models opens no API."""
    api, model = stage.key(stage.ada), stage.key(stage.ada, "model")
    assert asks(stage, api) == (stage.ada, "api key", "")
    assert asks(stage, model) is None
    over = stage.key(stage.bob, expires_at=as_text_of(time.time() - 1))
    assert asks(stage, over) is None
    assert asks(stage, stage.key(stage.bob, "legacy")) == (stage.bob, "legacy key", "")
    stage.directory.forget_key(api.partition(".")[0])
    assert asks(stage, api) is None


def test_who_is_disabled_has_nothing(stage: Stage) -> None:
    """Keys and sessions of a disabled user are none; the keys come back, the sessions do not."""
    token = stage.key(stage.bob)
    stage.directory.put_session(session(stage.bob))
    caller = stage.callers.find(token)
    assert caller is not None
    stage.directory.put_user(msgspec.structs.replace(stage.bob, disabled=True))
    assert asks(stage, token) is None
    assert caller.revoked
    assert stage.directory.session("held by bob") is None
    assert stage.directory.may_call(stage.model(visibility="public")) == frozenset("a")
    stage.directory.put_user(stage.bob)
    assert asks(stage, token) == (stage.bob, "api key", "")
    assert stage.directory.session("held by bob") is None


def test_a_key_told_twice_is_one(stage: Stage) -> None:
    """Who remembers a key from before its user changed sees it revoked all the same."""
    token = stage.key(stage.bob)
    remembered = stage.callers.find(token)
    stage.directory.put_user(msgspec.structs.replace(stage.bob, full_name="Bob"))
    stage.directory.forget_key(token.partition(".")[0])
    assert remembered is not None
    assert remembered.revoked


def test_sessions(stage: Stage) -> None:
    """A session is found by what the browser holds, until it is over or forgotten."""
    one = session(stage.bob)
    stage.directory.put_session(one)
    assert stage.directory.session("held by bob") == (one, stage.bob)
    stage.directory.forget_session(one.id)
    assert stage.directory.session("held by bob") is None
    stage.directory.put_session(msgspec.structs.replace(one, expires_at=now()))
    assert stage.directory.session("held by bob") is None


def test_a_session_ends_by_the_clock_alone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its last moment on nothing is found or allowed by a session that is still remembered,
    and an answer that is being sent by it is cut; the session of another user continues."""
    monkeypatch.setattr("gateway.identity.accounts.now", lambda: "2500-01-01T00:00:00.000000Z")
    over = msgspec.structs.replace(session(stage.bob), expires_at="2500-01-01T01:00:00.000000Z")
    cut: list[str] = []
    with ExitStack() as answers:
        for user, each in ((stage.bob, over), (stage.ada, session(stage.ada))):
            stage.directory.put_session(each)
            grant = answers.enter_context(
                stage.directory.grants.one(partial(cut.append, user.name))
            )
            grant.principal = Principal(user, "session", "", session=each)
            grant.rights.add(Right("user"))
            grant.sending = True

        def seen() -> list[tuple[bool, bool, bool]]:
            return [
                (
                    stage.directory.session(f"held by {user.name}") is not None,
                    stage.directory.is_live(asking),
                    stage.directory.allows(asking, Right("user")),
                )
                for user in (stage.bob, stage.ada)
                for asking in [Principal(user, "session", "", session=_remembered(stage, user))]
            ]

        stage.time += 3599
        stage.directory.grants.review()
        assert (seen(), cut) == ([(True,) * 3] * 2, [])
        assert stage.directory.sessions_over() == []
        stage.time += 1
        stage.directory.grants.review()
        assert (seen(), cut) == ([(False,) * 3, (True,) * 3], ["bob"])
        assert stage.directory.sessions_over() == [over]


@fault(
    "the clock jumps (sessions)",
    injection="years ahead and behind",
    bound="none ends early, none lasts longer",
)
@pytest.mark.parametrize("year", [2499, 2502])
def test_a_jump_of_the_clock_moves_no_session(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    """A clock that is set ahead ends no session, one that is set back prolongs none, while the
    gateway runs; at a start a session has at most the life that it was given."""
    monkeypatch.setattr("gateway.identity.accounts.now", lambda: "2500-01-01T00:00:00.000000Z")
    one = msgspec.structs.replace(
        session(stage.bob),
        created_at="2500-01-01T00:00:00.000000Z",
        expires_at="2500-01-01T01:00:00.000000Z",
    )
    stage.directory.put_session(one)
    monkeypatch.setattr("gateway.identity.accounts.now", lambda: f"{year}-01-01T00:00:00.000000Z")
    stage.time += 3599
    assert stage.directory.session("held by bob") is not None
    stage.time += 1
    assert stage.directory.session("held by bob") is None
    stage.directory.put_session(one)  # a start
    assert (stage.directory.session("held by bob") is None) == (year > 2500)
    stage.time += 3600
    assert stage.directory.session("held by bob") is None


def _remembered(stage: Stage, user: User) -> Session:
    [found] = stage.directory.sessions_of(user)
    return found


def test_who_goes(stage: Stage) -> None:
    """With a user go keys, sessions and roles."""
    token = stage.key(stage.bob)
    stage.directory.put_session(session(stage.bob))
    stage.members(("a", "owner"), ("b", "viewer"))
    stage.directory.forget_user(stage.bob)
    assert asks(stage, token) is None
    assert stage.directory.session("held by bob") is None
    assert stage.directory.members_of("p") == [(stage.ada, "owner")]
    assert stage.directory.users() == [stage.ada]
    # Nothing is stored of them either.
    assert stage.directory.roles_of(stage.bob) == {}


def test_a_project_that_goes(stage: Stage) -> None:
    """No user sees a deleted project, not even a public one; another public one is seen."""
    for number, name in enumerate("pq"):
        public = msgspec.structs.replace(stage.project, id=name, number=number, visibility="public")
        stage.directory.put_project(public)
        assert stage.directory.may(stage.bob, "project.view", name)
    stage.directory.forget_project("p")
    assert not stage.directory.may(stage.bob, "project.view", "p")
    assert stage.directory.may(stage.bob, "project.view", "q")
    assert stage.directory.members_of("p") == []


def test_roles(stage: Stage) -> None:
    """What one may do follows from one's role, and changes with it."""
    assert stage.directory.owner_of("p") == stage.ada
    assert not stage.directory.may(stage.bob, "project.view", "p")
    stage.members(("b", "owner"), ("a", "viewer"))
    assert stage.directory.may(stage.bob, "project.own", "p")
    assert stage.directory.may(stage.ada, "project.view", "p")
    assert not stage.directory.may(stage.ada, "project.edit", "p")
    stage.directory.forget_project("p")
    assert not stage.directory.may(stage.bob, "project.view", "p")


@pytest.mark.parametrize(
    ("project", "model", "enabled", "who"),
    [
        ("private", "private", True, frozenset("a")),
        ("private", "public", True, frozenset("ab")),
        ("public", "private", True, frozenset("ab")),
        ("private", "private", False, None),
    ],
)
def test_who_may_call(
    stage: Stage, project: str, model: str, enabled: bool, who: frozenset[str] | None
) -> None:
    """Members from operator on; everybody with a key where something is public; all without one
    where a model asks for none."""
    changed = {"visibility": project}
    stage.directory.put_project(
        msgspec.convert(msgspec.to_builtins(stage.project) | changed, Project)
    )
    stage.members(("a", "operator"))
    assert stage.directory.may_call(stage.model(visibility=model, auth_enabled=enabled)) == who
    stage.members(("a", "viewer"))
    if project == model == "private" and enabled:
        assert stage.directory.may_call(stage.model(visibility=model)) == frozenset()


def session(user: User) -> Session:
    held = digest_of(f"held by {user.name}")
    return Session(id=held, user_id=user.id, address="", agent="", expires_at=LATER)


def as_text_of(seconds: float) -> str:
    return as_text(datetime.fromtimestamp(seconds, UTC))

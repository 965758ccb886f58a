"""Model API keys at the door: who is let in, and that what takes a key away holds at once."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import trio

from gateway.identity.keys import make_secret
from tests.faults.matrix import fault
from tests.support.gateway import (
    Gateway,
    Json,
    copy_of,
    in_a_process,
    refusal,
    running,
    settings_for,
    speaking_to,
    url_in,
)

OK, UNAUTHORIZED, FORBIDDEN = HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN
CDSW = "User APikey not authorized to access model"


class Door:
    """A gateway with one model that asks for keys, and Ada, who may call it."""

    def __init__(self, gateway: Gateway, project: str, model: Json, ada: str) -> None:
        self.gateway = gateway
        self.project = project
        self.ada = ada
        self.model = f"{project}/models/{model['id']}"
        self.access_key = str(model["access_key"])
        self.body = {"accessKey": self.access_key, "request": {"do": "echo", "text": "x"}}

    async def key(self, kind: str = "model", **more: object) -> Json:
        """A new key of Ada's."""
        return dict(await self.gateway.post(f"/users/{self.ada}/{kind}_keys", more))

    async def call(self, token: str, request: Json | None = None) -> httpx.Response:
        body = self.body | ({"request": request} if request else {})
        return await self.gateway.models.post("/model", json=body, headers=bearer(token))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


class Stage(NamedTuple):
    """A gateway, and the paths of a project and its model, which two replicas serve."""

    data: Path
    project: str
    model: str


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("door")
    with in_a_process(folder / "data"):
        yield Stage(folder / "data", *trio.run(_deploy, folder))


async def _deploy(folder: Path) -> tuple[str, str]:
    async with speaking_to(url_in(folder / "data"), folder / "data") as gateway:
        project = await gateway.project(copy_of("badly", folder))
        model = await gateway.model(project, "badly")
        await gateway.deployed(await gateway.built(model, "badly.py:behave"), replicas=2)
        return project, model


@pytest.fixture
async def door(stage: Stage) -> AsyncIterator[Door]:
    """The model private and closed, and an Ada of the test's own."""
    async with speaking_to(url_in(stage.data), stage.data) as gateway:
        ada = f"Ada{secrets.token_hex(4)}"
        await gateway.post("/users", {"username": ada, "password": "correct horse"})
        role = {"permission": "operator"}
        await gateway.admin.put(f"{stage.project}/collaborators/{ada}", json=role)
        closed = {"auth_enabled": True, "visibility": "private"}
        model = (await gateway.admin.patch(stage.model, json=closed)).json()
        yield Door(gateway, stage.project, model, ada)
        await gateway.delete(f"/users/{ada}")


async def test_who_is_let_in(door: Door) -> None:
    """Keys of every kind of whoever may call, in CDSW's spellings; nobody else's, and no other."""
    kinds = {kind: (await door.key(kind))["api_key"] for kind in ("model", "v2", "legacy")}
    for token in kinds.values():
        assert (await door.call(token)).status_code == OK
    models, body = door.gateway.models, door.body
    basic = await models.post("/model", json=body, auth=(kinds["legacy"], ""))
    small = await models.post(
        "/model", json=body, headers={"authorization": f"bearer {kinds['v2']}"}
    )
    assert basic.status_code == small.status_code == OK
    identifier, _, secret = kinds["model"].partition(".")
    wrong = ["", "x", identifier, f"{identifier}.", f"{identifier}.{secret[:-1]}", f".{secret}"]
    for token in wrong:
        assert refusal(await door.call(token)) == (UNAUTHORIZED, "model.unauthorized"), token
    assert refusal(await models.post("/model", json=body)) == (UNAUTHORIZED, "model.unauthorized")


async def test_who_may_not(door: Door) -> None:
    """The key of somebody without a role is told so in the words that CDSW's clients look for."""
    await door.gateway.post("/users", {"username": "Bob", "password": "correct horse"})
    token = (await door.gateway.post("/users/Bob/model_keys"))["api_key"]
    answer = await door.call(token)
    assert refusal(answer) == (FORBIDDEN, "model.forbidden")
    assert CDSW in answer.json()
    for visibility, status in (("public", OK), ("private", FORBIDDEN)):
        await door.gateway.admin.patch(door.model, json={"visibility": visibility})
        assert (await door.call(token)).status_code == status


async def take_away(door: Door, what: str, key: Json) -> None:
    """Returns when the gateway has said that it is done."""
    admin = door.gateway.admin
    asked: dict[str, Callable[[], Awaitable[httpx.Response]]] = {
        "the key": lambda: admin.delete(f"/users/{door.ada}/model_keys/{key['key_id']}"),
        "all keys": lambda: admin.delete(f"/users/{door.ada}/model_keys"),
        "the user": lambda: admin.patch(f"/users/{door.ada}", json={"disabled": True}),
        "the role": lambda: admin.delete(f"{door.project}/collaborators/{door.ada}"),
        "the access key": lambda: admin.post(f"{door.model}:regenerate_key", json={}),
        "being public": lambda: admin.patch(door.model, json={"visibility": "private"}),
        "being open": lambda: admin.patch(door.model, json={"auth_enabled": True}),
    }
    assert (await asked[what]()).status_code == OK


TAKEN = {
    "the key": UNAUTHORIZED,
    "all keys": UNAUTHORIZED,
    "the user": UNAUTHORIZED,
    "the role": FORBIDDEN,
    "the access key": UNAUTHORIZED,
    "being public": FORBIDDEN,
    "being open": UNAUTHORIZED,
}


@fault(
    "a caller is shut out in a storm",
    injection="keys, user, role, access key, being public or open taken away under four callers",
    bound="no 200 to what is sent after the acknowledgement",
)
@pytest.mark.parametrize("what", TAKEN)
async def test_taken_away_in_a_storm(door: Door, what: str) -> None:
    """No request that is sent after the acknowledgement is answered 200, on connections of old."""
    key, admin = await door.key(), door.gateway.admin
    if what == "being public":
        await take_away(door, "the role", key)
        await admin.patch(door.model, json={"visibility": "public"})
    elif what == "being open":
        await admin.patch(door.model, json={"auth_enabled": False})
        key["api_key"] = ""
    sent: list[tuple[float, int]] = []
    gone = trio.Event()
    acknowledged = float("inf")

    async def keep_calling() -> None:
        async with httpx.AsyncClient(base_url=door.gateway.url, timeout=30) as client:
            after = 0
            while after < 20:
                at, was_gone = trio.current_time(), gone.is_set()
                answer = await client.post("/model", json=door.body, headers=bearer(key["api_key"]))
                sent.append((at, answer.status_code))
                after += was_gone

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(keep_calling)
        while len(sent) < 100:  # noqa: ASYNC110 - over HTTP there is no event
            await trio.sleep(0.005)
        await take_away(door, what, key)
        acknowledged = trio.current_time()
        gone.set()
    before = {status for at, status in sent if at < acknowledged}
    later = {status for at, status in sent if at > acknowledged}
    assert OK in before
    assert later == {TAKEN[what]}


@fault(
    "a key is revoked while its request is answered",
    injection="in a queue or at a replica, and the same is asked once more",
    bound="401 to all of them",
)
@pytest.mark.parametrize("what", ["the key", "the user", "the role", "being public"])
async def test_an_answer_under_way_is_withheld(door: Door, what: str) -> None:
    """A request that is not yet answered when the right is revoked is refused, in a queue or not;
    also if the same request, with the same cached head, came once more meanwhile."""
    key = await door.key()
    if what == "being public":
        await take_away(door, "the role", key)
        await door.gateway.admin.patch(door.model, json={"visibility": "public"})
    code = "model.unauthorized" if TAKEN[what] == UNAUTHORIZED else "model.forbidden"
    asked = {"do": "sleep", "seconds": 1.5}
    answers: list[tuple[int, str]] = []

    async def call() -> None:
        answers.append(refusal(await door.call(key["api_key"], asked)))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(call)
        await door.gateway.until(f"{door.model}/replicas", lambda now: now["waiting"] == 2)
        await take_away(door, what, key)
        later = await door.call(key["api_key"], asked)
        assert refusal(later) == (TAKEN[what], code)
        assert answers == []
    assert answers == [(TAKEN[what], code)] * 4


@fault(
    "a key expires",
    injection="under a caller who goes on",
    bound="200 before its instant, 401 after",
)
async def test_it_expires_at_its_instant(door: Door) -> None:
    """Before its time a key opens the door; what is sent from that instant on it does not."""
    expires = datetime.now(UTC) + timedelta(seconds=1.5)
    key = await door.key(expiry_date=expires.isoformat())
    answered: list[tuple[datetime, datetime, int]] = []
    while not answered or answered[-1][0] <= expires:
        sent = datetime.now(UTC)
        status = (await door.call(key["api_key"])).status_code
        answered.append((sent, datetime.now(UTC), status))
    assert {status for _, done, status in answered if done < expires} == {OK}
    assert {status for sent, _, status in answered if sent > expires} == {UNAUTHORIZED}


async def test_open_or_not_at_run_time(door: Door) -> None:
    """Authentication goes off and on for the next request."""
    for enabled in (False, True):
        await door.gateway.admin.patch(door.model, json={"auth_enabled": enabled})
        assert (await door.call("")).status_code == (UNAUTHORIZED if enabled else OK)


@fault(
    "a stolen database",
    injection="started without the secrets beside it",
    bound="no key of it opens anything",
)
async def test_a_stolen_database_has_no_key(door: Door, tmp_path: Path) -> None:
    """With the database but not the files of secrets beside it, nothing opens: no access key is
    the same, and what is kept of the others is no key."""
    keys = [(await door.key(kind))["api_key"] for kind in ("model", "v2", "legacy")]
    files = [path.read_bytes() for path in door.gateway.data.glob("predictd.db*")]
    admin_key = (door.gateway.data / "admin.key").read_text().strip()
    for text in (*keys, *(key.partition(".")[2] for key in keys[:2]), admin_key, door.access_key):
        assert text
        assert not any(text.encode() in content for content in files)
    stolen = tmp_path / "stolen"
    stolen.mkdir()
    for path in door.gateway.data.glob("predictd.db*"):
        (stolen / path.name).write_bytes(path.read_bytes())
    for name in ("secret.key", "admin.key"):
        make_secret(stolen / name)
    async with running(settings_for(stolen)) as thief:
        models = (await thief.get("/models"))["models"]
        assert [m["name"] for m in models] == ["badly"]
        assert models[0]["access_key"] != door.access_key
        answer = await thief.call(door.access_key, 1)
        assert refusal(answer) == (UNAUTHORIZED, "model.accesskey")

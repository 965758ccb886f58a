"""Model API keys: which keys are accepted, and that a revocation takes effect at once."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import trio

from gateway.identity.secret_file import make_secret
from tests.faults.matrix import fault
from tests.support.folders import NewFolder
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


class ProtectedModel:
    """A gateway with one model that requires keys, and Ada, who may call it."""

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
def stage(new_folder: NewFolder) -> Iterator[Stage]:
    folder = new_folder("protected")
    with in_a_process(folder / "data"):
        yield Stage(folder / "data", *trio.run(_deploy, folder))


async def _deploy(folder: Path) -> tuple[str, str]:
    async with speaking_to(url_in(folder / "data"), folder / "data") as gateway:
        project = await gateway.project(copy_of("badly", folder))
        model = await gateway.model(project, "badly")
        await gateway.deployed(await gateway.built(model, "badly.py:behave"), replicas=2)
        return project, model


@pytest.fixture
async def protected(stage: Stage) -> AsyncIterator[ProtectedModel]:
    """The model private and closed, and an Ada of the test's own."""
    async with speaking_to(url_in(stage.data), stage.data) as gateway:
        ada = f"Ada{secrets.token_hex(4)}"
        await gateway.post("/users", {"username": ada, "password": "correct horse"})
        role = {"permission": "operator"}
        await gateway.admin.put(f"{stage.project}/collaborators/{ada}", json=role)
        closed = {"auth_enabled": True, "visibility": "private"}
        model = (await gateway.admin.patch(stage.model, json=closed)).json()
        yield ProtectedModel(gateway, stage.project, model, ada)
        await gateway.delete(f"/users/{ada}")


async def test_accepted_keys(protected: ProtectedModel) -> None:
    """Keys of every kind of every user who may call, in CDSW's spellings, and no others."""
    kinds = {kind: (await protected.key(kind))["api_key"] for kind in ("model", "v2", "legacy")}
    for token in kinds.values():
        assert (await protected.call(token)).status_code == OK
    models, body = protected.gateway.models, protected.body
    basic = await models.post("/model", json=body, auth=(kinds["legacy"], ""))
    small = await models.post(
        "/model", json=body, headers={"authorization": f"bearer {kinds['v2']}"}
    )
    assert basic.status_code == small.status_code == OK
    identifier, _, secret = kinds["model"].partition(".")
    wrong = ["", "x", identifier, f"{identifier}.", f"{identifier}.{secret[:-1]}", f".{secret}"]
    for token in wrong:
        assert refusal(await protected.call(token)) == (UNAUTHORIZED, "model.unauthorized"), token
    assert refusal(await models.post("/model", json=body)) == (UNAUTHORIZED, "model.unauthorized")


async def test_user_without_a_role_is_403(protected: ProtectedModel) -> None:
    """In the words that CDSW's clients look for."""
    await protected.gateway.post("/users", {"username": "Bob", "password": "correct horse"})
    token = (await protected.gateway.post("/users/Bob/model_keys"))["api_key"]
    answer = await protected.call(token)
    assert refusal(answer) == (FORBIDDEN, "model.forbidden")
    assert CDSW in answer.json()
    for visibility, status in (("public", OK), ("private", FORBIDDEN)):
        await protected.gateway.admin.patch(protected.model, json={"visibility": visibility})
        assert (await protected.call(token)).status_code == status


async def take_away(protected: ProtectedModel, what: str, key: Json) -> None:
    """Returns when the gateway has said that it is done."""
    admin = protected.gateway.admin
    asked: dict[str, Callable[[], Awaitable[httpx.Response]]] = {
        "the key": lambda: admin.delete(f"/users/{protected.ada}/model_keys/{key['key_id']}"),
        "all keys": lambda: admin.delete(f"/users/{protected.ada}/model_keys"),
        "the user": lambda: admin.patch(f"/users/{protected.ada}", json={"disabled": True}),
        "the role": lambda: admin.delete(f"{protected.project}/collaborators/{protected.ada}"),
        "the access key": lambda: admin.post(f"{protected.model}:regenerate_key", json={}),
        "being public": lambda: admin.patch(protected.model, json={"visibility": "private"}),
        "being open": lambda: admin.patch(protected.model, json={"auth_enabled": True}),
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
async def test_revocation_under_load_is_immediate(protected: ProtectedModel, what: str) -> None:
    """No request that is sent after the response to the revocation gets 200, also on old
    connections."""
    key, admin = await protected.key(), protected.gateway.admin
    if what == "being public":
        await take_away(protected, "the role", key)
        await admin.patch(protected.model, json={"visibility": "public"})
    elif what == "being open":
        await admin.patch(protected.model, json={"auth_enabled": False})
        key["api_key"] = ""
    sent: list[tuple[float, int]] = []
    gone = trio.Event()
    acknowledged = float("inf")

    async def keep_calling() -> None:
        async with httpx.AsyncClient(base_url=protected.gateway.url, timeout=30) as client:
            after = 0
            while after < 20:
                at, was_gone = trio.current_time(), gone.is_set()
                answer = await client.post(
                    "/model", json=protected.body, headers=bearer(key["api_key"])
                )
                sent.append((at, answer.status_code))
                after += was_gone

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(keep_calling)
        while len(sent) < 100:  # noqa: ASYNC110 - over HTTP there is no event
            await trio.sleep(0.005)
        await take_away(protected, what, key)
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
async def test_revocation_withholds_running_responses(protected: ProtectedModel, what: str) -> None:
    """A request that is not answered yet when the right is revoked is refused, queued or running;
    also if the same request, with the same cached head, came again meanwhile."""
    key = await protected.key()
    if what == "being public":
        await take_away(protected, "the role", key)
        await protected.gateway.admin.patch(protected.model, json={"visibility": "public"})
    code = "model.unauthorized" if TAKEN[what] == UNAUTHORIZED else "model.forbidden"
    asked = {"do": "sleep", "seconds": 1.5}
    answers: list[tuple[int, str]] = []

    async def call() -> None:
        answers.append(refusal(await protected.call(key["api_key"], asked)))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(call)
        await protected.gateway.until(
            f"{protected.model}/replicas", lambda now: now["waiting"] == 2
        )
        await take_away(protected, what, key)
        later = await protected.call(key["api_key"], asked)
        assert refusal(later) == (TAKEN[what], code)
        assert answers == []
    assert answers == [(TAKEN[what], code)] * 4


@fault(
    "a key expires",
    injection="under a caller who continues",
    bound="200 before its instant, 401 after",
)
async def test_key_expires_at_its_instant(protected: ProtectedModel) -> None:
    """It is accepted before its time, and refused from that instant on."""
    expires = datetime.now(UTC) + timedelta(seconds=1.5)
    key = await protected.key(expiry_date=expires.isoformat())
    answered: list[tuple[datetime, datetime, int]] = []
    while not answered or answered[-1][0] <= expires:
        sent = datetime.now(UTC)
        status = (await protected.call(key["api_key"])).status_code
        answered.append((sent, datetime.now(UTC), status))
    assert {status for _, done, status in answered if done < expires} == {OK}
    assert {status for sent, _, status in answered if sent > expires} == {UNAUTHORIZED}


async def test_authentication_is_switched_at_run_time(protected: ProtectedModel) -> None:
    """It applies to the next request."""
    for enabled in (False, True):
        await protected.gateway.admin.patch(protected.model, json={"auth_enabled": enabled})
        assert (await protected.call("")).status_code == (UNAUTHORIZED if enabled else OK)


@fault(
    "a stolen database",
    injection="started without the secrets beside it",
    bound="no key of it opens anything",
)
async def test_stolen_database_contains_no_key(protected: ProtectedModel, tmp_path: Path) -> None:
    """Without the secret files beside it, no access key is the same, and the other keys are only
    hashes."""
    keys = [(await protected.key(kind))["api_key"] for kind in ("model", "v2", "legacy")]
    files = [path.read_bytes() for path in protected.gateway.data.glob("predictd.db*")]
    admin_key = (protected.gateway.data / "admin.key").read_text().strip()
    for text in (
        *keys,
        *(key.partition(".")[2] for key in keys[:2]),
        admin_key,
        protected.access_key,
    ):
        assert text
        assert not any(text.encode() in content for content in files)
    stolen = tmp_path / "stolen"
    stolen.mkdir()
    for path in protected.gateway.data.glob("predictd.db*"):
        (stolen / path.name).write_bytes(path.read_bytes())
    for name in ("secret.key", "admin.key"):
        make_secret(stolen / name)
    async with running(settings_for(stolen)) as thief:
        models = (await thief.get("/models"))["models"]
        assert [m["name"] for m in models] == ["badly"]
        assert models[0]["access_key"] != protected.access_key
        answer = await thief.call(protected.access_key, 1)
        assert refusal(answer) == (UNAUTHORIZED, "model.accesskey")

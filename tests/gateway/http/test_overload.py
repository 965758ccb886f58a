"""The overload contract of README.md, on a real gateway whose limits are short."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import trio

from tests.faults.matrix import fault
from tests.support.folders import NewFolder
from tests.support.gateway import (
    PATIENCE,
    Gateway,
    Json,
    copy_of,
    in_a_process,
    refusal,
    speaking_to,
    until,
    url_in,
)

LIMITS = "model_request_timeout = 1.0\nmax_queued_requests = 3\ntrusted_proxies = ['127.0.0.2']\n"
# How many of the three slots in the queue one caller can have.
SHARE = 2
# All callers of this machine are one; another comes by way of a proxy.
PROXY, ANOTHER = "127.0.0.2", "192.0.2.1"

Answer = httpx.Response


class Overloaded(NamedTuple):
    """A gateway with one model of one replica."""

    gateway: Gateway
    model: str
    key: str

    async def call(self, do: str, *, caller: str = "", limit: str = "", **more: object) -> Answer:
        """An answer of the model; `caller` is the address it is asked from."""
        transport = httpx.AsyncHTTPTransport(local_address=PROXY if caller else None)
        headers = {"X-Request-Timeout": limit} if limit else {}
        if caller:
            headers["X-Forwarded-For"] = caller
        body = {"accessKey": self.key, "request": {"do": do, **more}}
        async with httpx.AsyncClient(
            base_url=self.gateway.url, transport=transport, timeout=PATIENCE
        ) as client:
            return await client.post("/model", json=body, headers=headers)

    async def counts(self) -> Json:
        return dict(await self.gateway.get(f"{self.model}/replicas"))

    async def until_waiting(self, many: int) -> None:
        """Returns when the replica has a request and `many` wait."""
        await self.gateway.until(
            f"{self.model}/replicas",
            lambda now: now["waiting"] == many and now["replicas"][0]["status"] == "busy",
        )

    async def until_idle(self) -> None:
        await self.gateway.until(
            f"{self.model}/replicas", lambda now: now["replicas"][0]["status"] == "idle"
        )


@pytest.fixture(scope="module")
def deployed(new_folder: NewFolder) -> Iterator[tuple[Path, str]]:
    folder = new_folder("overload")
    (folder / "limits.toml").write_text(LIMITS)
    data = folder / "data"

    async def deploy() -> str:
        async with speaking_to(url_in(data), data) as gateway:
            model = await gateway.model(await gateway.project(copy_of("badly", folder)))
            await gateway.deployed(await gateway.built(model, "badly.py:behave"))
            return model

    with in_a_process(data, "--config", str(folder / "limits.toml")):
        yield data, trio.run(deploy)


@pytest.fixture
async def it(deployed: tuple[Path, str]) -> AsyncIterator[Overloaded]:
    data, model = deployed
    async with speaking_to(url_in(data), data) as gateway:
        it = Overloaded(gateway, model, await gateway.key(model))
        await it.until_idle()
        yield it


@asynccontextmanager
async def occupied(it: Overloaded, seconds: float = 0.9) -> AsyncIterator[trio.Nursery]:
    """The replica is busy for `seconds`, by a usual caller; ends when all callers have."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: it.call("sleep", seconds=seconds))
        await it.until_waiting(0)
        yield nursery


async def test_queue_timeout_is_429(it: Overloaded) -> None:
    """A request without a replica within the time-out gets 429, and when to retry."""
    before = await it.counts()
    async with occupied(it) as nursery:
        nursery.start_soon(lambda: it.call("sleep", seconds=0.9))
        await it.until_waiting(1)
        begun = trio.current_time()
        answer = await it.call("echo")
        assert 0.9 < trio.current_time() - begun < 5
    assert refusal(answer) == (429, "model.busy")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await it.counts())["waited_too_long"] == before["waited_too_long"] + 1


@fault(
    "a full queue",
    injection="more requests than slots",
    bound="429 at once, with Retry-After",
)
async def test_queue_full_is_429(it: Overloaded) -> None:
    """The caller who fills the queue is refused while others still wait; the last slot is for
    another caller, who does not wait behind one who has had more."""
    async with occupied(it) as nursery:

        async def call(name: str, caller: str = "") -> None:
            answer = await it.call("stdout", text=f"{name}\n", caller=caller)
            assert answer.status_code == 200

        for number in range(SHARE):
            nursery.start_soon(call, f"waits {number}")
            await it.until_waiting(number + 1)
        refused = await it.call("echo")
        assert refusal(refused) == (429, "model.busy")
        assert "the rest is reserved for other callers" in refused.json()["message"]
        assert int(refused.headers["retry-after"]) >= 1
        nursery.start_soon(call, "another", ANOTHER)
        await it.until_waiting(SHARE + 1)

    async def printed() -> list[str]:
        log = (await it.gateway.admin.get(f"{it.model}/logs")).text
        return re.findall(r"another|waits \d", log)

    order = await until(printed, lambda lines: len(lines) == SHARE + 1)
    assert order == ["another", *(f"waits {number}" for number in range(SHARE))]


async def test_caller_may_wait_less(it: Overloaded) -> None:
    """A caller's own limit bounds its wait, to the fraction of a second."""
    async with occupied(it):
        answer = await it.call("echo", limit="0.15")
        assert refusal(answer) == (429, "model.busy")
        assert "within 0.15 s" in answer.json()["message"]
        assert (await it.counts())["replicas"][0]["status"] == "busy"


async def test_limit_does_not_end_a_running_prediction(it: Overloaded) -> None:
    """A request that gets a replica at once keeps it, however short its limit."""
    assert (await it.call("sleep", limit="0", seconds=0.3)).json()["response"] == 0.3


async def test_prediction_too_long_is_504(it: Overloaded) -> None:
    """Its process is gone, and another one serves the next request."""
    before = (await it.counts())["replicas"][0]
    async with trio.open_nursery() as nursery:
        answers: list[Answer] = []

        async def hang() -> None:
            answers.append(await it.call("hang"))

        nursery.start_soon(hang)
        await it.until_waiting(0)
    assert refusal(answers[0]) == (504, "model.timeout")
    await it.until_idle()
    assert (await it.call("echo")).status_code == 200
    after = (await it.counts())["replicas"][0]
    assert after["pid"] != before["pid"]
    assert not Path(f"/proc/{before['pid']}").exists()


@fault(
    "a replica dies with a request",
    injection="os._exit at a hundred of them",
    bound="none runs twice",
)
async def test_request_is_never_sent_twice(it: Overloaded) -> None:
    """A request that a replica died of reached one replica, once."""
    before = (await it.counts())["replicas"][0]
    assert refusal(await it.call("os_exit")) == (502, "model.shutdown")
    await it.until_idle()
    after = (await it.counts())["replicas"][0]
    assert after["received"] == before["received"] + 1


@fault(
    "a waiting client goes",
    injection="it closes its connection",
    bound="its request leaves the queue",
)
async def test_disconnect_leaves_the_queue(it: Overloaded) -> None:
    """The request of a client that is gone leaves the queue, and no replica gets it."""
    before = await it.counts()
    async with occupied(it):
        with trio.CancelScope() as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: it.call("echo"))
                await it.until_waiting(1)
                client.cancel()
        await it.until_waiting(0)
    after = await it.counts()
    assert after["abandoned"] == before["abandoned"] + 1
    assert after["replicas"][0]["received"] == before["replicas"][0]["received"] + 1

"""/site: the state of the gateway."""

from pathlib import Path

import trio

from tests.support.gateway import Gateway, running, settings_for, until


async def test_site_counts_connections(gateway: Gateway) -> None:
    """The site counts the connections there are and were, and the door's answers by status."""
    quiet = (await gateway.get("/site"))["traffic"]
    stream = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    async with stream:
        await stream.send_all(b"POST /model HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        await stream.receive_some()
        busy = (await gateway.get("/site"))["traffic"]
        assert busy == {
            "connections": quiet["connections"] + 1,
            "accepted": quiet["accepted"] + 1,
            "rejected": 0,
            "answers": {"400": 1},
        }

    async def traffic() -> object:
        return (await gateway.get("/site"))["traffic"]["connections"]

    await until(traffic, lambda connections: connections == quiet["connections"])


async def test_site_counts_refused_connections(tmp_path: Path) -> None:
    """A connection too many is told so, and counted."""
    async with running(settings_for(tmp_path / "data", max_connections=1)) as gateway:
        await gateway.get("/site")
        async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
            assert b"gateway.overloaded" in await stream.receive_some()
        traffic = (await gateway.get("/site"))["traffic"]
        assert (traffic["connections"], traffic["rejected"]) == (1, 1)

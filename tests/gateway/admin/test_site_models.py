"""/site/models: all that is active, with what it asked for and what it takes."""

from pathlib import Path

import trio

from tests.support.gateway import Gateway, copy_of, status_is, until


async def test_site_models_lists_active_models(gateway: Gateway, tmp_path: Path) -> None:
    """Each model that serves is there with its replicas, what they asked for and take, by whom and
    since when; one that was never deployed, or has stopped, is not."""
    project = await gateway.project(copy_of("greedy", tmp_path))
    model = await gateway.model(project, "greedy")
    await gateway.model(project, "idle")
    assert await gateway.get("/site/models") == {"models": [], "next_page_token": ""}
    build = await gateway.built(model, "greedy.py:take")
    deployment = await gateway.deployed(build, replicas=2, cpu=0.5, memory=0.25)
    key = await gateway.key(model)
    async with trio.open_nursery() as callers:
        callers.start_soon(gateway.call, key, {"do": "compute", "seconds": 60})

        async def look() -> dict[str, object]:
            [found] = (await gateway.get("/site/models"))["models"]
            return dict(found)

        found = await until(look, lambda found: (found["used"]["cpu"] or 0) > 0.1)
        callers.cancel_scope.cancel()
    facts = ("name", "status", "build_number", "deployment_number", "replicas_ready", "waiting")
    assert [found[name] for name in facts] == ["greedy", "deployed", 1, 1, 2, 0]
    assert found["requested"] == {"cpu": 1.0, "memory_bytes": 512 << 20, "gpus": 0}
    assert found["deployer"]["username"] == "admin"
    assert found["deployed_at"] == (await gateway.get(deployment))["deployed_at"]
    assert found["used"]["cpu_seconds"] > 0.1
    assert found["used"]["memory_bytes"] > 2 << 20
    await gateway.post(f"{deployment}:stop")
    await gateway.until(deployment, status_is("stopped"))
    assert (await gateway.get("/site/models"))["models"] == []

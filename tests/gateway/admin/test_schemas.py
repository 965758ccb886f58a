"""The outer spelling of what is told."""

import re
from pathlib import Path
from uuid import UUID

from tests.support.gateway import Gateway, Json, copy_of, running, settings_for

CRN = re.compile(r"crn:cdp:ml:[a-z0-9-]+:([0-9a-f-]{36}):workspace:([0-9a-f-]{36})/([0-9a-f-]{36})")


async def test_crns(tmp_path: Path) -> None:
    """Model, build and deployment have names of CDSW's shape: the id behind the only slash, before
    it the account and the workspace, which are the same for all and over a restart."""
    settings = settings_for(tmp_path / "data")
    async with running(settings) as gateway:
        model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
        build = await gateway.built(model, "add.py:add")
        paths = (model, build, await gateway.deployed(build))
        before = [await told(gateway, path) for path in paths]
    async with running(settings) as gateway:
        after = [await told(gateway, path) for path in paths]
    assert [record["crn"] for record in after] == [record["crn"] for record in before]
    parts = [CRN.fullmatch(record["crn"]) for record in before]
    found = [part.groups() for part in parts if part]
    assert [UUID(identifier) for _, _, identifier in found] == [UUID(r["id"]) for r in before]
    assert len({identifier for _, _, identifier in found}) == 3
    ((account, workspace),) = {(account, workspace) for account, workspace, _ in found}
    assert UUID(account) != UUID(workspace)


async def told(gateway: Gateway, path: str) -> Json:
    return dict(await gateway.get(path))

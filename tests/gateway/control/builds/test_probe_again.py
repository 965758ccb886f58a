"""A build whose model was tested under the same conditions is not tested again."""

from pathlib import Path

from tests.support.gateway import Gateway, copy_of


async def probe_of(gateway: Gateway, build: str) -> str:
    steps = (await gateway.get(build))["steps"]
    return next(str(each["state"]) for each in steps if each["name"] == "PROBE")


async def test_equal_build_is_not_probed_again(gateway: Gateway, tmp_path: Path) -> None:
    """The second of two equal builds of a model says which build it equals; another file, function,
    example or a fresh build is probed."""
    source = copy_of("add", tmp_path)
    model = await gateway.model(await gateway.project(source))
    first = await gateway.built(model, "add.py:add")
    second = await gateway.built(model, "add.py:add")
    assert [await probe_of(gateway, each) for each in (first, second)] == ["done", "skipped"]
    assert "skipped: same as build 1" in (await gateway.admin.get(f"{second}/log")).text
    fresh = await gateway.built(model, "add.py:add", fresh=True)
    assert await probe_of(gateway, fresh) == "done"
    (source / "add.py").write_text((source / "add.py").read_text() + "\n")
    assert await probe_of(gateway, await gateway.built(model, "add.py:add")) == "done"

"""A gateway that serves makes the seed of its first build before that is asked for."""

import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

import builder
from builder import Interpreter
from tests.support.gateway import running, settings_for, until
from tests.support.seeds import share_seeds


def own_seeds(data: Path) -> Path:
    """The folder of seeds of a gateway that shares none."""
    seeds = data / "seeds"
    seeds.mkdir(parents=True)
    data.chmod(0o700)
    return seeds


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_seed_of_the_default_interpreter_is_made_without_a_build(tmp_path: Path) -> None:
    """The seed is there soon after the start, and the next start leaves it as it is."""
    seeds = own_seeds(tmp_path / "data")

    async def made() -> list[str]:
        return names(seeds)

    async with running(settings_for(tmp_path / "data")):
        [name] = await until(
            made, lambda found: bool(found) and not any(each[0] == "." for each in found)
        )
    assert name.startswith("python{}.{}-".format(*sys.version_info))
    before = (seeds / name).stat()
    async with running(settings_for(tmp_path / "data")) as gateway:
        await gateway.get("/site")
    assert names(seeds) == [name]
    assert (seeds / name).stat() == before


async def test_shutdown_ends_the_preparation(tmp_path: Path) -> None:
    """A gateway that is stopped while it makes the seed leaves nothing of it, and waits for
    nothing."""
    seeds = own_seeds(tmp_path / "data")

    async def begun() -> list[str]:
        return names(seeds)

    async with running(settings_for(tmp_path / "data", shutdown_grace=0.0)):
        await until(begun, bool, pause=0.001)
    assert not [name for name in names(seeds) if name.startswith(".")]


async def test_failed_preparation_is_a_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A gateway whose interpreter makes no environment serves, and says why it has no seed."""
    seeds = own_seeds(tmp_path / "data")

    async def broken(default: Path | None, downloads: Path | None) -> list[Interpreter]:
        found = replace(await builder.inspect(Path(sys.executable)), path=Path("/bin/false"))
        return [replace(found, default=True)]

    async def told() -> str:
        return caplog.text

    async with running(settings_for(tmp_path / "data"), discover=broken) as gateway:
        await until(told, lambda text: "seed.not_prepared" in text)
        await gateway.get("/site")
    assert names(seeds) == []


def test_gateways_of_tests_share_a_seed_that_is_there(tmp_path: Path) -> None:
    """No gateway of a test makes a seed of the Python that runs the tests."""
    share_seeds(tmp_path)
    assert any((tmp_path / "seeds").glob("python{}.{}-*".format(*sys.version_info)))

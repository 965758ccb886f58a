"""What an interrupted deletion left is gone after the next start; what is remembered is not."""

import shutil
from pathlib import Path

import trio

from tests.gateway.kit import copy_of, running, settings_for, until

GONE = "7b0e1f8e-5d0c-4c5b-9d0a-6f3c2a1b4e5d"  # an id that no row has


def lay_out(data: Path, project: str, model: str, build: str) -> list[Path]:
    """Something in every folder whose entries are named by ids."""
    files = [
        data / "projects" / project / "file",
        data / "snapshots" / f"{project}.git" / "file",
        data / "cache" / "pip" / project / "file",
        data / "logs" / "builds" / f"{build}.log",
        data / "logs" / "builds" / f"{build}.log.1",
        data / "logs" / "models" / model / "replica.log",
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return files


async def test_what_belongs_to_nobody_is_swept(tmp_path: Path) -> None:
    """At a start, what bears the id of a row stays and what bears another is gone."""
    settings = settings_for(tmp_path / "data")
    async with running(settings) as gateway:
        model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
        build = await gateway.built(model, "add.py:add")
        await gateway.deployed(build)
        log = (await gateway.admin.get(f"{build}/log")).text
        ids = build.split("/")[2::2]
    kept = gateway.data / "snapshots" / f"{ids[0]}.git" / "refs" / "builds" / ids[2]
    left = kept.with_name(GONE)
    shutil.copy(kept, left)
    stays, goes = lay_out(gateway.data, *ids), lay_out(gateway.data, GONE, GONE, GONE)
    (gateway.data / "projects" / "link").symlink_to(tmp_path / "add")
    async with running(settings) as gateway:
        await until(trio.Path(left).exists, lambda is_there: not is_there)
        assert [path for path in (*stays, kept) if not path.exists()] == []
        assert [path for path in goes if path.exists()] == []
        assert not list(gateway.data.rglob(f"{GONE}*"))
        assert (await gateway.admin.get(f"{build}/log")).text == log
        assert "Model ready" in (await gateway.admin.get(f"{model}/logs")).text
    assert not (gateway.data / "projects" / "link").is_symlink()
    assert (tmp_path / "add" / "add.py").exists()

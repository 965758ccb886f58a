"""Rebuilding a build: what is in the build store before, meanwhile and afterwards."""

from pathlib import Path

import pytest

from builder import BuildStore, EnvironmentStore
from gateway.control.builds.rebuild import replacing


async def test_failed_rebuild_leaves_the_old_build(tmp_path: Path) -> None:
    """The folder is free while a build is rebuilt; what it was before is put back if the rebuild
    leaves nothing complete."""
    build_store = BuildStore(tmp_path, EnvironmentStore(tmp_path / "environments"))
    folder = build_store.folder("b")
    folder.mkdir()
    (folder / "old").touch()

    async def fail() -> None:
        async with replacing(build_store, "b"):
            assert not folder.exists()
            folder.mkdir()
            raise OSError("no index")

    with pytest.raises(OSError, match="no index"):
        await fail()
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert build_store.aside() == []

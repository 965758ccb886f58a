"""Seals a folder whose files are shared with other sealed folders (`links.py`)."""

from collections.abc import Callable
from pathlib import Path

import trio
from msgspec import Struct

from builder.file_store.links import NewFile, add_to_store, is_library, link_files
from builder.sealed_folders import seal


class SharedSeal:
    """The seal of a folder, of which the files beneath `tree` are shared through `store`. Once its
    libraries are linked, programs may run in the folder while the rest is linked and sealed."""

    def __init__(self, tree: Path, store: Path) -> None:
        self._tree = tree
        self._store = store
        self._new: list[NewFile] = []
        self._is_left: Callable[[str], bool] = lambda _: True

    async def link_libraries(self) -> None:
        """Share those files that programs map. Raises OSError."""
        self._new = await self._link(is_library)
        self._is_left = lambda name: not is_library(name)

    async def seal(self, folder: Path, manifest: Struct) -> None:
        """Share the other files, and seal the folder; see `sealed_folders.seal`. Raises OSError."""
        self._new += await self._link(self._is_left)
        await seal(folder, manifest)
        await trio.to_thread.run_sync(add_to_store, self._new, self._store)

    async def _link(self, wanted: Callable[[str], bool]) -> list[NewFile]:
        return await trio.to_thread.run_sync(link_files, self._tree, self._store, wanted)

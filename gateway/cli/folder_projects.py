"""Which project each folder of this user was uploaded to.

`folders.json` beside the file of contexts maps a gateway and a folder to the id of a project. It is
not in the folder itself: two users who share a repository would upload to one project unknowingly.

The file is locked while a project is looked up or created, so two commands in one new folder create
one project.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gateway.cli.contexts import contexts_path, write_private


class FolderProjects:
    """The projects of the folders for one gateway; `gateway` is its URL or its data folder."""

    def __init__(self, path: Path, gateway: str) -> None:
        self._path = path
        self._gateway = gateway

    def get(self, folder: Path) -> str:
        """The id of the folder's project, or ""."""
        return self._read().get(self._gateway, {}).get(str(folder), "")

    def put(self, folder: Path, project_id: str) -> None:
        """Remembers the project of a folder; "" forgets it."""
        known = self._read()
        mine = known.setdefault(self._gateway, {})
        mine.pop(str(folder), None)
        if project_id:
            mine[str(folder)] = project_id
        write_private(self._path, json.dumps(known, indent=1))

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            known = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            raise ValueError(f"{self._path} is not JSON") from None
        if not isinstance(known, dict):
            raise ValueError(f"{self._path} is not a JSON object")
        return known


def remembered_project(environment: Mapping[str, str], gateway: str, folder: Path) -> str:
    """The id of the folder's project, or "", without waiting for the lock. Raises as below."""
    return FolderProjects(_path(environment), gateway).get(folder)


def _path(environment: Mapping[str, str]) -> Path:
    return contexts_path(environment).with_name("folders.json")


@contextmanager
def folder_projects(environment: Mapping[str, str], gateway: str) -> Iterator[FolderProjects]:
    """The file, locked during the block. Raises OSError, or ValueError for a damaged file."""
    path = _path(environment)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield FolderProjects(path, gateway)

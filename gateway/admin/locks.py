"""The locks of builds, and what differs between two builds."""

import msgspec
import trio
from msgspec.structs import asdict
from quart import Response, request

from builder import Lock, Package, RPackage
from gateway.admin.builds import ONE
from gateway.admin.lookup import Lookup
from gateway.admin.routing import route
from gateway.admin.schemas import Json
from gateway.control import Control

TOML, JSON = "application/toml", "application/json"


class LockRoutes:
    def __init__(self, control: Control) -> None:
        self._locks = control.build_locks
        self._lookup = Lookup(control)

    @route.get(
        f"{ONE}/lock",
        "project.view",
        "show the packages of a build as `pylock.toml`, or as JSON",
        media_types=(TOML, JSON),
    )
    async def show(self, project_id: str, model_id: str, build_id: str) -> Response:
        build = await self._lookup.build(project_id, model_id, build_id)
        if request.accept_mimetypes.best_match([TOML, JSON], TOML) == TOML:
            return Response(await self._locks.text(build), content_type=TOML)
        lock = await self._locks.lock(build)
        # There may be thousands of packages.
        body = await trio.to_thread.run_sync(_lock_json, build.lock_id, lock)
        return Response(body, content_type=JSON)

    @route.get(
        f"{ONE}/diff/<other_build_id>",
        "project.view",
        "show what differs in another build: settings, packages and files",
    )
    async def compare(
        self, project_id: str, model_id: str, build_id: str, other_build_id: str
    ) -> Json:
        before = await self._lookup.build(project_id, model_id, build_id)
        after = await self._lookup.build(project_id, model_id, other_build_id)
        compared = await self._locks.compare(project_id, before, after)
        return {
            "build_number": before.number,
            "other_build_number": after.number,
            "settings": [msgspec.structs.asdict(each) for each in compared.settings],
            "packages": msgspec.to_builtins(compared.packages),
            "files": [msgspec.structs.asdict(each) for each in compared.files],
            "files_changed": compared.files_changed,
        }

    @route.get(
        f"{ONE}/diff/<other_build_id>/text/<path:path>",
        "project.view",
        "show the lines of a file that differ in another build",
    )
    async def difference(
        self, project_id: str, model_id: str, build_id: str, other_build_id: str, path: str
    ) -> Response:
        before = await self._lookup.build(project_id, model_id, build_id)
        after = await self._lookup.build(project_id, model_id, other_build_id)
        found = await self._locks.difference(project_id, before, after, path)
        body = await trio.to_thread.run_sync(msgspec.json.encode, {"path": path, **asdict(found)})
        return Response(body, content_type=JSON)


def _lock_json(lock_id: str, lock: Lock) -> bytes:
    return msgspec.json.encode(
        {
            "id": lock_id,
            "python": lock.python,
            "r": lock.r,
            "packages": [
                *map(_package_json, lock.packages),
                *map(_r_package_json, lock.r_packages),
            ],
            "unhashed_because": lock.unhashed_because,
        }
    )


def _package_json(package: Package) -> Json:
    files = [file for file in (package.archive, package.sdist, *package.wheels) if file]
    return {
        "name": package.name,
        "version": package.version,
        "language": "python",
        "source": package.source,
        "files": [
            {"name": file.filename, "url": file.url, "path": file.path, "hashes": file.hashes}
            for file in files
        ],
    }


def _r_package_json(package: RPackage) -> Json:
    return {
        "name": package.name,
        "version": package.version,
        "language": "r",
        "source": package.source or package.repository,
        "files": [],
    }

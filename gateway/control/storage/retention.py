"""Which builds of a model are kept: the latest few, not too old, and all that is referenced.

Referenced is what a deployment serves or will serve, what is stopping, what is being made, and what
`rollback` would deploy. The latest build that succeeded stays as well, however old: with it a
stopped model can be deployed again.
"""

from datetime import UTC, datetime, timedelta

import aiosqlite
import msgspec

import store
from gateway.settings import Settings
from store import Build, Deployment, Model, as_text

_UNFINISHED = ("pending", "queued", "building")


class Retention(msgspec.Struct, frozen=True):
    """The number of builds, and their age in days; 0 is no limit of age."""

    builds: int
    days: int = 0

    @classmethod
    def of_model(cls, model: Model, settings: Settings) -> "Retention":
        """The model's own limits, and the site's where it has none."""
        builds, days = model.keep_builds, model.keep_builds_days
        return cls(
            settings.keep_builds if builds < 0 else builds,
            settings.keep_builds_days if days < 0 else days,
        )

    def oldest(self, now_ms: int) -> str:
        """Builds created before this are too old."""
        if not self.days:
            return ""
        return as_text(datetime.fromtimestamp(now_ms / 1000, UTC) - timedelta(days=self.days))

    def reason(self, build: Build, now_ms: int) -> str:
        """Why a build that can be removed is not kept."""
        if build.created_at < self.oldest(now_ms):
            return f"older than {self.days} days"
        return f"beyond the latest {self.builds}"


def removable_builds(
    builds: list[Build], deployments: list[Deployment], retention: Retention, now_ms: int = 0
) -> list[Build]:
    """Those of a model's builds that can be removed, oldest first. Both lists ascend by number."""
    made = [build for build in builds if build.status == "built"]
    latest = [*builds[-retention.builds :], *made[-retention.builds :]]
    oldest = retention.oldest(now_ms)
    kept = {build.id for build in latest if build.created_at >= oldest}
    kept |= {build.id for build in made[-1:]}
    kept |= {build.id for build in builds if build.status in _UNFINISHED}
    in_use = [d for d in deployments if d.wanted == "serve" or d.status == "stopping"]
    kept |= {d.build_id for d in in_use if d.build_id}
    served = [d.build_id for d in deployments if d.deployed_at is not None and d.build_id]
    # The one that serves or served last, and the one before it, which a rollback deploys.
    kept |= set(list(dict.fromkeys(reversed(served)))[:2])
    return [build for build in builds if build.id not in kept]


class OldBuild(msgspec.Struct, frozen=True):
    """A build that can be removed, its model, the name of its project, and why it is not kept."""

    project: str
    model: Model
    build: Build
    reason: str


async def old_builds(
    connection: aiosqlite.Connection, settings: Settings, now_ms: int, keep: int | None
) -> list[OldBuild]:
    """Of all models. With `keep`, that many are kept of each, regardless of the limits."""
    old = []
    projects = {each.id: each.name for each in await store.projects.list_all(connection)}
    for model in await store.models.list_all(connection):
        builds = await store.builds.list_all(connection, model.id)
        deployments = await store.deployments.list_all(connection, model.id)
        limits = Retention.of_model(model, settings) if keep is None else Retention(keep)
        for build in removable_builds(builds, deployments, limits, now_ms):
            reason = limits.reason(build, now_ms)
            old.append(OldBuild(projects[model.project_id], model, build, reason))
    return old

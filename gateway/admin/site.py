"""/site: the gateway and its machine."""

from urllib.parse import urlsplit

import msgspec
import trio

from gateway.admin.routing import route
from gateway.admin.schemas import Json, gpu_json
from gateway.control import Control
from gateway.control.records import now
from gateway.http.context import ConnectionStats
from gateway.identity.principal import principal
from gateway.version import version


class SiteRoutes:
    def __init__(self, control: Control, connections: ConnectionStats) -> None:
        self._control = control
        self._connections = connections
        self._started_at = now()

    @route.get("/site", "user", "show the gateway: version, machine; to administrators its state")
    async def show(self) -> Json:
        user, control = principal().user, self._control
        site = {
            "version": version(),
            "started_at": self._started_at,
            "domain": urlsplit(control.urls.public).netloc,
            "url": control.urls.public,
            "machine": control.resources.capacity(),
            "gpus": control.gpus.totals()._asdict(),
            "isolation": control.workers.confinement.described(),
            "max_replicas": control.settings.current.max_replicas,
            # Of the user who sends this request.
            "may_create_models": control.settings.may_create("models", user),
            "may_create_projects": control.settings.may_create("projects", user),
        }
        await trio.lowlevel.checkpoint()
        return site | await self._state() if user.administrator else site

    async def _state(self) -> Json:
        control = self._control
        settings = msgspec.to_builtins(control.settings.current, enc_hook=str)
        # The values of variables may be secrets, such as the password of a package index.
        settings["environment"] = sorted(control.settings.current.environment)
        devices = control.workers.gpus.states()
        return {
            "data": str(control.data.root),
            "traffic": self._connections,
            "metrics": msgspec.structs.asdict(control.metrics_writer.state())
            | await control.metrics.size(),
            "gpu_devices": [gpu_json(each, control.workers.gpus) for each in devices],
            "disk": await control.disk.state(),
            "projects_bytes": control.project_usage.total(),
            "last_collection": control.collection.last,
            "set_aside": control.set_aside.problems,
            "settings": settings,
        }

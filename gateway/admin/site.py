"""/runtimes and /site: what this machine and this gateway offer."""

from urllib.parse import urlsplit

import msgspec

import store
from gateway.admin.paging import PAGED, page
from gateway.admin.router import Router
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.http.context import ConnectionStats
from gateway.identity.principal import principal
from gateway.version import version


def add_routes(routing: Router, control: Control, traffic: ConnectionStats) -> None:
    context = control.context
    started_at = store.now()  # the routes are made when the gateway starts

    async def runtimes() -> Json:
        shows_paths = principal().user.administrator
        return await page(
            "runtimes",
            [
                {
                    "runtime_identifier": interpreter.identifier,
                    "image_identifier": interpreter.identifier,
                    "kernel": interpreter.kernel,
                    "edition": "Standard",
                    "editor": "",
                    "full_version": interpreter.version,
                    "path": str(interpreter.path) if shows_paths else "",
                    "default": interpreter.default,
                }
                for interpreter in await context.interpreters.all()
            ],
        )

    async def site() -> Json:
        user = principal().user
        settings = msgspec.to_builtins(context.settings, enc_hook=str)
        # Their values may be secrets, such as the password of a package index.
        settings["environment"] = sorted(context.settings.environment)
        told = {
            "version": version(),
            "started_at": started_at,
            "domain": urlsplit(context.urls.public).netloc,
            "url": context.urls.public,
            "machine": context.resources.capacity(),
            "isolation": context.workers.confinement.described(),
            "max_replicas": context.settings.max_replicas,
            # Whoever asks.
            "may_create_models": context.runtime_settings.may_create("models", user),
            "may_create_projects": context.runtime_settings.may_create("projects", user),
        }
        if not user.administrator:
            return told
        return told | {
            "data": str(context.data.root),
            "traffic": traffic,
            "metrics": msgspec.structs.asdict(context.metrics_writer.state())
            | await control.metrics.size(),
            "disk": await context.disk.state(),
            "set_aside": context.set_aside.problems,
            "settings": settings,
        }

    routing.add(
        "GET",
        "/runtimes",
        "any",
        "the interpreters that builds can use",
        runtimes,
        query=PAGED,
    )
    routing.add("GET", "/site", "user", "this gateway and its settings", site)

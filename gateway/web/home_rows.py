"""The rows of the first page: projects, and the state of their models."""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.client.snippets import samples
from gateway.control.records import Project
from gateway.control.views import ModelView
from gateway.web.states import state_of


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A model as the page shows it."""

    name: str
    description: str
    status: str
    tone: str
    ready: int
    wanted: int
    build: int | None
    problem: str
    open: bool
    access_key: str
    curl: str


class ProjectRow(msgspec.Struct, frozen=True, kw_only=True):
    """A project as the page shows it."""

    id: str
    name: str
    description: str
    owner: str  # "" for the viewer's own
    public: bool
    models: Sequence[ModelRow]


def project_row(project: Project, owner: str, models: Sequence[ModelRow]) -> ProjectRow:
    return ProjectRow(
        id=project.id,
        name=project.name,
        description=project.description,
        owner=owner,
        public=project.visibility == "public",
        models=models,
    )


def model_row(view: ModelView) -> ModelRow:
    model, deployment, statistics = view.model, view.deployment, view.statistics
    example = msgspec.json.decode(view.example) if view.example else {}
    ready = statistics.ready if statistics else 0
    serving = deployment is not None and deployment.wanted == "serve"
    wanted = deployment.replicas if deployment and serving else 0
    tone: str = state_of(view.status).tone
    if view.status == "deployed" and ready < wanted:
        tone = "busy"
    failure = deployment.failure if deployment else None
    open_to_all = not model.auth_enabled
    return ModelRow(
        name=model.name,
        description=model.description,
        status=view.status or "not deployed",
        tone=tone,
        ready=ready,
        wanted=wanted,
        build=deployment.build_number if deployment else None,
        problem=": ".join(filter(None, (failure.summary, failure.problem))) if failure else "",
        open=open_to_all,
        access_key=view.access_key,
        curl=_curl(view.url, view.access_key, example, open_to_all),
    )


def _curl(url: str, access_key: str, example: Any, open_to_all: bool) -> str:
    call = samples(url, access_key, example).curl
    if open_to_all:
        return call
    # In double quotes, so that the shell inserts the key.
    return call.replace("curl ", 'curl -H "Authorization: Bearer $KEY" ', 1)

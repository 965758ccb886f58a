"""What the first page shows: the projects that one may see, and how their models are."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from gateway.client.snippets import samples
from store import Deployment, Model, Project
from workers import PoolStatistics

# How a status is coloured; what is not here is quiet.
_TONES = {
    "deployed": "good",
    "pending": "busy",
    "deploying": "busy",
    "stopping": "busy",
    "rebuilding": "busy",
    "failed": "bad",
}


class ModelRow(Struct, frozen=True, kw_only=True):
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


class ProjectRow(Struct, frozen=True, kw_only=True):
    """A project as the page shows it."""

    id: str
    name: str
    description: str
    owner: str  # "": whoever looks at it
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


def model_row(
    model: Model,
    deployment: Deployment | None,
    status: str,
    statistics: PoolStatistics | None,
    access_key: str,
    url: str,
    example: Any,
) -> ModelRow:
    """`url` is that of model calls; `example` an input of the model, as Python has it."""
    ready = statistics.ready if statistics else 0
    serving = deployment is not None and deployment.wanted == "serve"
    wanted = deployment.replicas if deployment and serving else 0
    tone = _TONES.get(status, "")
    if status == "deployed" and ready < wanted:
        tone = "busy"
    failure = deployment.failure if deployment else None
    open_to_all = not model.auth_enabled
    return ModelRow(
        name=model.name,
        description=model.description,
        status=status or "not deployed",
        tone=tone,
        ready=ready,
        wanted=wanted,
        build=deployment.build_number if deployment else None,
        problem=failure.summary if failure else "",
        open=open_to_all,
        access_key=access_key,
        curl=_curl(url, access_key, example, open_to_all),
    )


def _curl(url: str, access_key: str, example: Any, open_to_all: bool) -> str:
    call = samples(url, access_key, example).curl
    if open_to_all:
        return call
    # In double quotes, so that the shell puts the key in.
    return call.replace("curl ", 'curl -H "Authorization: Bearer $KEY" ', 1)

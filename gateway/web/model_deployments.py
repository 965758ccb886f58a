"""The latest deployment of a model, and the current one, from lists that may be long."""

import json
from typing import Any

from gateway.errors import Refusal
from gateway.web.api import Api, url

Json = dict[str, Any]
_PLURAL = "model_deployments"


async def latest_deployment(api: Api, model_path: str) -> Json | None:
    """The last deployment of a model, if it has any."""
    return await api.latest(f"{model_path}/deployments", _PLURAL, "deployment_number")


async def shown_deployment(api: Api, model_path: str, model: Json) -> Json | None:
    """The deployment that serves, or else the latest: one that failed has no calls to name it."""
    if current := model["current_deployment_id"]:
        found = await api.get(
            f"{model_path}/deployments", search_filter=json.dumps({"id": current})
        )
        if found[_PLURAL]:
            return dict(found[_PLURAL][0])
    return await latest_deployment(api, model_path)


async def current_deployment(api: Api, model_path: str) -> tuple[Json, str]:
    """The deployment that a model's status is about, and the path of its build. Raises Refusal for
    a model without one."""
    model = await api.get(model_path)
    if current := model["current_deployment_id"]:
        wanted = json.dumps({"id": current})
        found = await api.get(f"{model_path}/deployments", search_filter=wanted)
        for deployment in found[_PLURAL]:
            if deployment["build_id"]:
                return deployment, f"{model_path}/builds{url(deployment['build_id'])}"
    raise Refusal("state.conflict", f"model {model['name']!r} is not deployed")

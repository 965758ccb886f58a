"""Calling a deployed model, and signing in to the server's APIs."""

from __future__ import annotations

import os

from .gateway import Gateway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def call_model(model_access_key: str, ipt: Any, api_key: str | None = None) -> dict[str, Any]:
    """Calls a deployed model and returns the whole answer; "response" is its function's result.

    `model_access_key` names the model; `ipt` is the argument of its function, any value that has a
    JSON form. `api_key`, for models with authentication, is a model API key or an API key; the
    default is the environment's (CDSW_APIV2_KEY), if there is one.

    Raises RuntimeError, with the gateway's message, where the status is not 200.
    """
    gateway = Gateway.of_environment(api_key)
    body = {"accessKey": model_access_key, "request": ipt}
    answer: dict[str, Any] = gateway.post("/model", body)
    return answer


def get_auth() -> dict[str, str]:
    """The sign-in for the older APIs: {"user": the API key, "password": ""}.

    The key is in the environment variable CDSW_API_KEY. Raises RuntimeError without it.
    """
    key = os.environ.get("CDSW_API_KEY")
    if not key:
        raise RuntimeError("get_auth: CDSW_API_KEY is not set; give it an API key of yours")
    return {"user": key, "password": ""}

"""A client of models and of the admin API, and samples of calls to copy."""

from gateway.client.client import (
    PAGE_SIZE,
    PREFIX,
    ApiError,
    Client,
    ClientError,
    Json,
    ModelFailed,
    ServerSentEvent,
    ServerUnreachable,
    trusting,
)
from gateway.client.multipart import multipart

__all__ = [
    "PAGE_SIZE",
    "PREFIX",
    "ApiError",
    "Client",
    "ClientError",
    "Json",
    "ModelFailed",
    "ServerSentEvent",
    "ServerUnreachable",
    "multipart",
    "trusting",
]

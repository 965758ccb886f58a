"""The error catalogue is complete, and fits the two bodies that clients parse."""

import errno
import inspect
import json
from pathlib import Path
from typing import get_args

import pytest

import builder.errors
import store.errors
from gateway.errors import CATALOGUE, Code, Refusal, Who, admin_body, model_body, refusal
from gateway.http.request_head import ProtocolError

# Errors that stop a start, or that the record of a build or project holds: none reaches a client.
NOT_FOR_CLIENTS = {
    store.errors.SchemaTooNew,
    store.errors.DatabaseOutdated,
    store.errors.DataFolderBusy,
    store.errors.DataFolderUnusable,
    builder.errors.CloneFailed,
    builder.errors.SnapshotFailed,
    builder.errors.SymlinkLeaves,
    builder.errors.InterpreterUnusable,
    builder.errors.InterpreterUnavailable,
    builder.errors.LockBroken,
    builder.errors.EnvironmentFailed,
    builder.errors.ScriptFailed,
    builder.errors.ModelFileRefused,
    builder.errors.ProbeFailed,
    store.errors.StoreError,
    builder.errors.BuilderError,
}
FOR_CLIENTS: list[Exception] = [
    *(store.errors.NotFound(n, "x") for n in ("project", "model", "build", "deployment")),
    store.errors.NameTaken("model", "x"),
    store.errors.IllegalTransition("build", "built", "started"),
    store.errors.BuildInUse(1, [2]),
    store.errors.RuntimeInUse("science@1", "builds", 2),
    store.errors.StoreFailed("disk"),
    store.errors.StoreFull("full"),
    store.errors.StoreDamaged(Path("predictd.db"), "reason"),
    builder.errors.UnknownKernel("r", ["python3.11"]),
    builder.errors.RMissing(),
    builder.errors.CloneRefused("problem", "advice"),
    OSError(errno.ENOSPC, "No space left on device"),
    *(ProtocolError(status, "x") for status in (400, 408, 431, 501, 505)),
]


@pytest.mark.parametrize("error", FOR_CLIENTS, ids=lambda error: type(error).__name__)
def test_error_of_a_package_has_a_code(error: Exception) -> None:
    """An error of a package becomes a refusal with a code of its own, never "internal"."""
    refused = refusal(error)
    assert CATALOGUE[refused.code] is refused.kind
    assert refused.code != "internal"
    assert refused.message


def test_errors_of_the_packages_are_all_listed() -> None:
    """Every error class of the store and the builder is in one of the two lists above."""
    classes = {
        each
        for module in (store.errors, builder.errors)
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Exception) and each.__module__ == module.__name__
    }
    listed = NOT_FOR_CLIENTS | {type(error) for error in FOR_CLIENTS}
    assert classes == listed - {OSError, ProtocolError}


def test_unexpected_error_is_internal() -> None:
    """An unexpected error is "internal", and its text does not reach the client."""
    refused = refusal(RuntimeError("secret"))
    assert refused.code == "internal"
    assert b"secret" not in admin_body(refused) + model_body(refused, "1")


def test_catalogue_has_every_code() -> None:
    """The catalogue has an entry for each Code, in the same order."""
    assert tuple(CATALOGUE) == get_args(Code)


@pytest.mark.parametrize("code", CATALOGUE)
def test_error_kind_is_complete(code: Code) -> None:
    """Each kind of error has an error status, a gRPC code, who acts, and advice."""
    kind = CATALOGUE[code]
    assert 400 <= kind.status <= 599
    assert 1 <= kind.grpc <= 16
    assert kind.who in get_args(Who)
    assert kind.advice


@pytest.mark.parametrize("code", CATALOGUE)
def test_the_body_for_callers_of_a_model(code: Code) -> None:
    """Failures of the model have `"success":false`, refusals no such key; the rest is the same."""
    refused = Refusal(code, "sentence", extra={"ReplicaID": "r-1"})
    body = json.loads(model_body(refused, "id-1"))
    author = refused.kind.who == "author"
    assert body.pop("success", None) is (False if author else None)
    told = {"code": code, "message": "sentence", "advice": refused.kind.advice}
    assert body == {
        "errors": told,
        "error": told,
        "message": "sentence",
        "StatusCode": refused.kind.status,
        "ReplicaID": "r-1",
        "request_id": "id-1",
    }


@pytest.mark.parametrize("code", CATALOGUE)
def test_the_body_of_the_admin_api(code: Code) -> None:
    """The body is that of gRPC's gateway, with code, actor and advice in the details."""
    refused = Refusal(code, "sentence", advice="do this")
    assert json.loads(admin_body(refused)) == {
        "error": "sentence",
        "message": "sentence",
        "code": refused.kind.grpc,
        "details": [{"code": code, "who": refused.kind.who, "advice": "do this"}],
    }

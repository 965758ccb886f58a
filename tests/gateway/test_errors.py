"""The error catalogue: complete, and said in the two bodies that clients parse."""

import errno
import inspect
import json
from pathlib import Path

import pytest

import builder.errors
import store.errors
from gateway.errors import CATALOGUE, Refusal, admin_body, model_body, refusal
from gateway.http.request_head import ProtocolError

# What stops a start or is told in a build's or project's own record, and so reaches no client.
NEVER_ASKED = {
    store.errors.SchemaTooNew,
    store.errors.DatabaseOutdated,
    store.errors.DataFolderBusy,
    store.errors.DataFolderUnusable,
    builder.errors.CloneFailed,
    builder.errors.SnapshotFailed,
    builder.errors.SymlinkLeaves,
    builder.errors.InterpreterUnusable,
    builder.errors.EnvironmentFailed,
    builder.errors.ScriptFailed,
    builder.errors.ModelFileRefused,
    builder.errors.ProbeFailed,
    store.errors.StoreError,
    builder.errors.BuilderError,
}
ASKED: list[Exception] = [
    *(store.errors.NotFound(n, "x") for n in ("project", "model", "build", "deployment")),
    store.errors.NameTaken("model", "x"),
    store.errors.IllegalTransition("build", "built", "started"),
    store.errors.BuildInUse(1, [2]),
    store.errors.StoreFailed("disk"),
    store.errors.StoreFull("full"),
    store.errors.StoreDamaged(Path("predictd.db"), "reason"),
    builder.errors.UnknownKernel("r", ["python3.11"]),
    builder.errors.CloneRefused("problem", "advice"),
    OSError(errno.ENOSPC, "No space left on device"),
    *(ProtocolError(status, "x") for status in (400, 408, 431, 501, 505)),
]


@pytest.mark.parametrize("error", ASKED, ids=lambda error: type(error).__name__)
def test_every_error_of_an_engine_has_a_code(error: Exception) -> None:
    """An engine's error becomes a refusal of the catalogue, never a mistake of ours."""
    refused = refusal(error)
    assert CATALOGUE[refused.code] is refused.entry
    assert refused.code != "internal"
    assert refused.message


def test_no_error_of_an_engine_was_forgotten() -> None:
    """Every error class of the engines is in one of the two lists above."""
    classes = {
        each
        for module in (store.errors, builder.errors)
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Exception) and each.__module__ == module.__name__
    }
    assert classes == NEVER_ASKED | {type(error) for error in ASKED} - {OSError, ProtocolError}


def test_what_nobody_foresaw_is_ours_and_tells_nothing() -> None:
    """An unforeseen error is "internal", and its text stays inside."""
    refused = refusal(RuntimeError("secret"))
    assert refused.code == "internal"
    assert b"secret" not in admin_body(refused) + model_body(refused, "1")


def test_a_code_outside_the_catalogue_cannot_be_raised() -> None:
    """A refusal has a code of the catalogue."""
    with pytest.raises(KeyError):
        Refusal("no.such", "x")


@pytest.mark.parametrize("code", CATALOGUE)
def test_entries_are_whole(code: str) -> None:
    """Each entry has an error status, a gRPC code, somebody who acts, and advice."""
    entry = CATALOGUE[code]
    assert 400 <= entry.status <= 599
    assert 1 <= entry.grpc <= 16
    assert entry.who in ("caller", "author", "later", "operator", "us")
    assert entry.advice


@pytest.mark.parametrize("code", CATALOGUE)
def test_the_body_for_callers_of_a_model(code: str) -> None:
    """Failures of the model say `"success":false`; refusals have no such key; all say the rest."""
    refused = Refusal(code, "sentence", extra={"ReplicaID": "r-1"})
    body = json.loads(model_body(refused, "id-1"))
    author = refused.entry.who == "author"
    assert body.pop("success", None) is (False if author else None)
    told = {"code": code, "message": "sentence", "advice": refused.entry.advice}
    assert body == {
        "errors": told,
        "error": told,
        "message": "sentence",
        "StatusCode": refused.entry.status,
        "ReplicaID": "r-1",
        "request_id": "id-1",
    }


@pytest.mark.parametrize("code", CATALOGUE)
def test_the_body_of_the_admin_api(code: str) -> None:
    """The admin API says it as gRPC's gateway does, with code, actor and advice in the details."""
    refused = Refusal(code, "sentence", advice="do this")
    assert json.loads(admin_body(refused)) == {
        "error": "sentence",
        "message": "sentence",
        "code": refused.entry.grpc,
        "details": [{"code": code, "who": refused.entry.who, "advice": "do this"}],
    }

"""What `deploy` asks of a real gateway: one request starts all that is to happen."""

from collections.abc import Iterator
from http.client import HTTPConnection
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.cli.conftest import Predictd
from tests.gateway.conftest import Samples


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Method and path of each request of the commands; a repeated one, such as a poll, once."""
    sent: list[str] = []
    request = HTTPConnection.request

    def record(self: HTTPConnection, method: str, url: str, *rest: Any) -> None:
        sent.append(f"{method} {url.partition('?')[0]}")
        request(self, method, url, *rest)

    monkeypatch.setattr(HTTPConnection, "request", record)
    return sent


@pytest.fixture
def deploys(
    samples: Samples, data: Path, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Predictd]:
    """Runs commands on the gateway of the samples; deletes their project at the end."""
    monkeypatch.setenv("PREDICTD_DATA", str(samples.data))
    yield predictd
    monkeypatch.undo()
    predictd("project", "rm", folder.name, "--yes", "--data", str(samples.data))


def test_deploy_is_one_post(requests: list[str], deploys: Predictd) -> None:
    """A new model is created, built and deployed by one POST (of 13 requests, now 9); another
    build of it by one POST, after what it inherits was read. Unchanged files cost one request."""
    command = ("deploy", "model.py:add", "--no-auth", "--replicas", "1")
    first = deploys(*command, "--example", '{"a": 1, "b": 2}')
    assert (first.code, "It answers the example with 3." in first.out) == (0, True), first.err
    assert _shortened(requests) == [
        "GET /projects",
        "POST /projects",
        "PUT /files:sync",
        "POST /models",
        "GET /log",
        "GET /builds/ID",
        "GET /deployments/ID",
        "GET /models/ID",
        "POST /model",
    ]
    requests.clear()
    second = deploys(*command)
    assert second.code == 0, second.err
    assert _shortened(requests) == [
        "GET /projects",
        "POST /files:compare",
        "GET /models",
        "GET /builds",
        "GET /deployments",
        "POST /builds",
        "GET /log",
        "GET /builds/ID",
        "GET /deployments/ID",
        "GET /models/ID",
    ]


def test_refused_deploy_leaves_nothing(requests: list[str], deploys: Predictd) -> None:
    """What the gateway refuses leaves no model, and the client deletes the project that it
    created."""
    outcome = deploys("deploy", "model.py:add", "--replicas", "10")
    assert outcome.code == 4
    assert _shortened(requests)[-2:] == ["POST /models", "DELETE /projects/ID"]
    assert "Created project 'sums' for this folder.\n" in outcome.err
    assert "Deleted project 'sums' again.\n" in outcome.err
    assert deploys("project", "show", "sums").code == 4


def test_mistyped_function_leaves_nothing(folder: Path, deploys: Predictd) -> None:
    """A first deploy of a function that does not exist is refused, with the one meant."""
    outcome = deploys("deploy", "model.py:ad")
    assert outcome.code == 4
    assert "model.py defines no 'ad'; its functions are: add" in outcome.err
    assert "Did you mean 'add'?" in outcome.err
    assert deploys("project", "show", "sums").code == 4


def test_deploy_check_builds_nothing(folder: Path, deploys: Predictd) -> None:
    """`deploy --check` tells problems and notes, and leaves neither model nor project."""
    passing = deploys("deploy", "model.py:add", "--check")
    assert passing.code == 0, passing.err
    assert "1 file, " in passing.err
    assert passing.out == "model.py:add passes the check. Nothing was built.\n"
    (folder / "model.py").write_text("def add(args:\n")
    (folder / "environment.yml").write_text("dependencies: []\n")
    failing = deploys("deploy", "model.py:add", "--check")
    assert failing.code == 1
    assert "the check of model.py:add found 2 problems:" in failing.err
    assert "environment.yml is for conda" in failing.err
    assert "is not valid for Python" in failing.err
    assert deploys("project", "show", "sums").code == 4


def _shortened(requests: list[str]) -> list[str]:
    """The last part of each path, or the last two where that is an id."""
    found = []
    for each, _ in groupby(requests):
        method, _, path = each.partition(" ")
        *_, before, last = path.split("/")
        found.append(f"{method} /{before}/ID" if len(last) == 36 else f"{method} /{last}")
    return found

"""Every law of the inside holds in every interpreter of this machine."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workers.inside import interpreters
from tests.workers.inside.conversation import PROJECTS, READY, Conversation
from tests.workers.inside.played_gateway import Played

Converse = Callable[..., Conversation]


@pytest.fixture(scope="session", params=interpreters.found())
def version(request: pytest.FixtureRequest) -> str:
    """The version ("3.8") of the interpreter under test."""
    found: str = request.param
    return found


@pytest.fixture(scope="session")
def python(version: str) -> Path:
    """The interpreter under test."""
    return interpreters.found()[version]


@pytest.fixture
def converse(python: Path, tmp_path: Path) -> Iterator[Converse]:
    """`converse(NAME=value...)` starts a replica with these environment variables."""
    conversations: list[Conversation] = []

    def begin(**environment: str) -> Conversation:
        folder = tmp_path / f"replica-{len(conversations)}"
        folder.mkdir()
        conversations.append(Conversation(python, folder, environment))
        return conversations[-1]

    yield begin
    for conversation in conversations:
        conversation.close()


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """`write_model(source, name)` makes a project of one file and returns its root."""

    def write(source: str | bytes, name: str = "model.py") -> Path:
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        return tmp_path / "project"

    return write


@pytest.fixture
def badly(converse: Converse) -> Conversation:
    """A replica of the sample project that misbehaves as it is told."""
    replica = converse()
    assert replica.start(PROJECTS / "badly", "badly.py", "behave").kind == READY
    return replica


@pytest.fixture
def played() -> Iterator[Played]:
    with Played() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()

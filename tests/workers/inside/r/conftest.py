"""What the tests of the inside of R share: real replicas of R."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.folders import NewFolder
from tests.support.r import r_prefix
from tests.workers.inside.conversation import PROJECTS, READY, TESTS, Conversation

R_INSIDE = TESTS.parent / "workers" / "inside" / "r"
EVALUATOR = "evaluate <- function(args) eval(parse(text = args$code), list(given = args$given))\n"
Converse = Callable[..., Conversation]


class RConversation(Conversation):
    """A replica of R; `program` is its front end."""

    @staticmethod
    def command(program: Path, inlet: int, outlet: int) -> tuple[list[str | Path], dict[str, str]]:
        start = f"--file={R_INSIDE / 'start.R'}"
        words: list[str | Path] = [program, "--no-echo", "--no-restore", "--no-init-file", start]
        packages = str(R_INSIDE / "packages")
        return words, {"PREDICTD_WIRE": f"{inlet},{outlet}", "R_LIBS_USER": packages}


@pytest.fixture(scope="session")
def r_program() -> Path:
    return r_prefix() / "bin" / "R"


@pytest.fixture
def converse(r_program: Path, tmp_path: Path) -> Iterator[Converse]:
    """`converse(NAME=value...)` starts a replica of R with these environment variables."""
    conversations: list[Conversation] = []

    def begin(**environment: str) -> Conversation:
        folder = tmp_path / f"replica-{len(conversations)}"
        folder.mkdir()
        conversations.append(RConversation(r_program, folder, environment))
        return conversations[-1]

    yield begin
    for conversation in conversations:
        conversation.close()


@pytest.fixture
def load(converse: Converse, tmp_path: Path) -> Callable[..., Conversation]:
    """`load(source)` is a ready replica of a model of one file, with the function `predict`."""

    def load(source: str | bytes, function: str = "predict", **environment: str) -> Conversation:
        path = tmp_path / "project" / "model.R"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        replica = converse(**environment)
        answer = replica.start(path.parent, "model.R", function)
        assert answer.kind == READY, answer
        return replica

    return load


@pytest.fixture
def badly(converse: Converse) -> Conversation:
    """A replica of the sample project that misbehaves as it is told."""
    replica = converse()
    assert replica.start(PROJECTS / "badly", "badly.R", "behave").kind == READY
    return replica


@pytest.fixture(scope="module")
def evaluator(r_program: Path, new_folder: NewFolder) -> Iterator[Conversation]:
    """A replica that evaluates `code`, in which `given` is a value of the request."""
    folder = new_folder("evaluator")
    (folder / "model.R").write_text(EVALUATOR)
    replica = RConversation(r_program, folder, {})
    assert replica.start(folder, "model.R", "evaluate").kind == READY
    yield replica
    replica.close()

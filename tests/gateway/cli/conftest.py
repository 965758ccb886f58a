"""What tests of the command line share: a fake gateway, and a way to run one command against it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from gateway.cli import main
from tests.support.fake_admin_api import State, fake_gateway


class Outcome(NamedTuple):
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Predictd(Protocol):
    def __call__(self, *argv: str) -> Outcome: ...


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder that commands are pointed at; nothing else of the environment counts."""
    for name in ("PREDICTD_URL", "PREDICTD_CONTEXT", "PREDICTD_API_KEY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREDICTD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "data"


@pytest.fixture
def state(data: Path) -> Iterator[State]:
    """A running fake gateway."""
    with fake_gateway(data) as state:
        yield state


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with one model file, which is the current directory."""
    folder = tmp_path / "sums"
    folder.mkdir()
    (folder / "model.py").write_text("def add(args):\n    return args['a'] + args['b']\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def predictd(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs one command in this process, as the entry point would."""

    def run(*argv: str) -> Outcome:
        capsys.readouterr()
        code = main(argv)
        return Outcome(code, *capsys.readouterr())

    return run

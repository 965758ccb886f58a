"""`kill -9` of the gateway while it makes, seals, compiles or finds an environment.

Afterwards an environment is complete or absent, and what is complete is used again.
"""

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.client import Json
from tests.end_to_end.test_reused_environments import AGAIN
from tests.faults.matrix import fault
from tests.support.polling import until
from tests.support.served_gateway import Gateway, at, fixed_port, write
from tests.support.wheels import make_wheel

MODEL = "import greeting\n\n\ndef tell(args):\n    return greeting.VERSION\n"
SCRIPT = "set -e\npip install --no-index wheels/*.whl\nmkdir made; echo made > made/said.txt\n"
WISH = {"file_path": "model.py", "function_name": "tell"}
SECONDS = 20.0


def first(data: Path, pattern: str) -> bool:
    return next(data.glob(pattern), None) is not None


# By the place on the disk that tells the moment. A moment that was missed is a later one.
MOMENTS: dict[str, Callable[[Path], bool]] = {
    "the folder of a build": lambda data: first(data, "builds/*"),
    "the copy of a seed": lambda data: first(data, "environments/*/environment"),
    "the wrappers": lambda data: first(data, "environments/*/environment/predictd-bin"),
    "the script": lambda data: first(data, "builds/*/code/made"),
    "the question to the index": lambda data: first(data, "builds/*/question"),
    "the records": lambda data: first(data, "environments/*/files"),
    "the inputs": lambda data: first(data, "environments/*/inputs"),
    "the seal": lambda data: first(data, "environments/*/sealed"),
    "the store": lambda data: first(data, "files/*/*/*"),
    "the seal of the build": lambda data: first(data, "builds/*/sealed"),
    "compilation": lambda data: first(data, "environments/*/compiling"),
    "bytecode": lambda data: first(data, "environments/*/compiling/out/*.pyc"),
}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """It keeps its URL when it is started again: a build script could have written that."""
    gateway = Gateway(tmp_path / "data")
    gateway.port = fixed_port()
    with gateway:
        yield gateway


def begin(gateway: Gateway, model: Json) -> None:
    gateway.client.post(f"{at(model)}/builds", WISH)


def killed_at(gateway: Gateway, reached: Callable[[Path], bool]) -> None:
    """Kills the gateway at a moment, and starts it again."""
    end = time.monotonic() + SECONDS
    while not reached(gateway.data) and time.monotonic() < end:
        pass
    gateway.end(signal.SIGKILL)
    gateway.start()


def check(gateway: Gateway) -> None:
    """Nothing is half made: neither a build, an environment nor a shared file."""
    data = gateway.data
    assert not gateway.processes()
    for folder in (*data.glob("builds/*"), *data.glob("environments/*")):
        assert (folder / "sealed").is_file(), folder
        assert not (folder / "sealed.new").exists()
        assert not (folder / "compiling").exists()
        assert not list(folder.rglob(".predictd-link*"))
    for entry in (data / "files").glob("*/*/*"):
        digest, size, _ = f"{entry.parent.name}{entry.name}".split("-")
        content = entry.read_bytes()
        assert digest == hashlib.sha256(content).hexdigest()
        assert len(content) == int(size, 16)


def content(folder: Path) -> dict[str, bytes | str]:
    """The files and links of a folder, but bytecode."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or (path.is_file() and path.suffix != ".pyc")
    }


@fault(
    "kill -9 while an environment is made",
    injection="at each of its steps, and while it is compiled",
    bound="it is complete or absent; the next build uses a complete one, and is right",
)
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_an_environment_is_made(gateway: Gateway, tmp_path: Path, moment: str) -> None:
    """No half-made environment is found again, and nothing is left over after the next start."""
    folder = write(tmp_path / "hello", {"model.py": MODEL, "cdsw-build.sh": SCRIPT})
    make_wheel(folder / "wheels", "greeting", "1.0")
    model = gateway.model(gateway.project(folder), "tell")
    begin(gateway, model)
    killed_at(gateway, MOMENTS[moment])
    check(gateway)
    sealed = {each.name for each in gateway.data.glob("environments/*")}

    build = gateway.build(model, "model.py", "tell")
    assert build["status"] == "built", build["failure"]
    log = gateway.cli("build", "log", "tell", "2").out
    assert (AGAIN in log) == bool(sealed)
    until(lambda: first(gateway.data, "environments/*/compiled"), SECONDS)
    gateway.deploy(model, build, replicas=1)
    assert gateway.call(model, {}).body["response"] == "1.0"
    again = gateway.build(model, "model.py", "tell", fresh=True)
    one, two = (gateway.data / "builds" / each["id"] / "code" for each in (build, again))
    assert content(one) == content(two)

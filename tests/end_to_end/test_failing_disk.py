"""A disk that fails under a gateway: predictions go on, and what it said is what is there."""

import signal
from collections.abc import Iterator

import pytest

from gateway.client import ApiError, Json
from tests.faults.matrix import fault
from tests.support.disks import failing
from tests.support.folders import NewFolder
from tests.support.served_gateway import Gateway, Prober, at, write

ECHO = {"echo.py": "def echo(args):\n    return args\n"}


@pytest.fixture(scope="module")
def served(new_folder: NewFolder) -> Iterator[tuple[Gateway, Json]]:
    """A gateway and a model that it serves."""
    folder = new_folder("failing")
    with Gateway(folder / "data") as gateway:
        yield gateway, gateway.serve(write(folder / "echo", ECHO), "echo.py", "echo", replicas=1)


class Scribe:
    """Changes a model's description, and knows which change was acknowledged last."""

    def __init__(self, gateway: Gateway, model: Json) -> None:
        self._gateway, self._model = gateway, model
        self._count = 0
        self._last = self.found()
        self.refused: list[ApiError] = []

    def write(self) -> bool:
        """Whether it was taken."""
        self._count += 1
        text = f"{self._gateway.pid} {self._count}"
        try:
            self._gateway.client.patch(at(self._model), {"description": text})
        except ApiError as error:
            self.refused.append(error)
            return False
        self._last = text
        return True

    def found(self) -> str:
        return str(self._gateway.client.get(at(self._model))["description"])

    def audit(self) -> None:
        """Neither less nor more than what was acknowledged is there."""
        assert self.found() == self._last


@fault(
    "fsync and write errors",
    injection="EIO and EROFS in a gateway that runs",
    bound="503; what was refused did not happen, live, healed and after a kill",
)
@pytest.mark.parametrize(
    "fault",
    [
        "fsync,fdatasync:error=EIO",
        "fsync,fdatasync:error=EIO:when=1+3",
        "fsync,fdatasync:error=EIO:when=2+2",
        "pwrite64:error=EIO",
        "pwrite64:error=EROFS",
        "pwrite64:error=EIO:when=2+3",
    ],
)
def test_failed_write_is_503_and_absent(served: tuple[Gateway, Json], fault: str) -> None:
    """Each change is accepted, or refused with 503 and absent: at once, after the disk has
    recovered, and after `kill -9` in the middle of it. Predictions continue."""
    gateway, model = served
    scribe = Scribe(gateway, model)
    with Prober(gateway, [model], {}).running():
        with failing(gateway.pid, fault):
            for _ in range(6):
                scribe.write()
                scribe.audit()
            assert scribe.refused
            for error in scribe.refused:
                assert (error.status, error.code) == (503, "disk.failed")
                assert "disk" in error.advice
        assert scribe.write(), "it did not heal"
        scribe.audit()
    with failing(gateway.pid, fault):
        while scribe.write():
            pass
        gateway.end(signal.SIGKILL)
    gateway.start()
    scribe.audit()
    assert scribe.write()


@fault(
    "a build cannot be synced",
    injection="EIO on syncfs",
    bound="the build fails, and nothing of it stays",
)
def test_build_that_cannot_be_synced_fails(served: tuple[Gateway, Json]) -> None:
    """A build whose files may not have reached the disk fails and leaves no folder; the next one,
    on a disk that works, succeeds."""
    gateway, model = served
    before = {folder.name for folder in (gateway.data / "builds").iterdir()}
    with Prober(gateway, [model], {}).running():
        with failing(gateway.pid, "syncfs:error=EIO"):
            failed = gateway.build(model, "echo.py", "echo")
        assert failed["status"] == "build failed"
        assert "Input/output error" in failed["failure"]["problem"]
        assert {folder.name for folder in (gateway.data / "builds").iterdir()} == before
        assert gateway.build(model, "echo.py", "echo")["status"] == "built"

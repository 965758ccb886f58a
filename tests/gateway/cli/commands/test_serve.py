"""`predictd serve`: hands the flags over, says when it serves, explains why it cannot."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import serving
from gateway.http.listen_sockets import PortTaken
from gateway.operations.systemd import ServiceManager
from gateway.settings import SETTINGS, LoadedSettings, Settings, SettingsError
from store import DataFolderBusy
from tests.gateway.cli.conftest import Predictd


class Server:
    """Stands in for the gateway itself, which these tests are not about."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.sources: dict[str, str] = {}
        self.failure: BaseException | None = None
        self.ready_first = True

    async def serve(
        self,
        given: LoadedSettings,
        *,
        ready: Callable[[str], None],
        manager: ServiceManager,
        tell_password: Callable[[str], None] | None,
    ) -> None:
        self.settings, self.sources, self.manager = given.settings, given.sources, manager
        if self.ready_first:
            ready("http://127.0.0.1:8080")
        if self.failure:
            raise self.failure


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(serving, "serve", server.serve)
    return server


def test_serve_passes_the_flags_given(server: Server, predictd: Predictd, tmp_path: Path) -> None:
    """A flag that is not given does not hide the file's setting."""
    config = tmp_path / "a.toml"
    config.write_text('port = 1\nhost = "::1"\n')
    outcome = predictd("serve", "--port", "9000", "--config", str(config))
    assert (outcome.code, server.settings and server.settings.port) == (0, 9000)
    assert server.settings
    assert server.settings.host == "::1"
    assert server.sources["port"] == "the command line"
    assert server.sources["host"] == str(config)
    assert "Serving at http://127.0.0.1:8080; stop with Ctrl-C." in outcome.out
    assert predictd("serve", "--json").json == {"url": "http://127.0.0.1:8080", "pid": os.getpid()}


def test_settings_that_are_refused(server: Server, predictd: Predictd) -> None:
    """An invalid setting is an error; exit code 2."""
    outcome = predictd("serve", "--port", "99999")
    assert (outcome.code, "port = 99999" in outcome.err) == (2, True)


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.EADDRINUSE, "Address already in use"),
        ExceptionGroup("nursery", [ExceptionGroup("nursery", [DataFolderBusy(Path("/x"), 7)])]),
    ],
)
def test_serve_shows_why_it_cannot_start(
    server: Server, predictd: Predictd, failure: BaseException
) -> None:
    """What the operator can mend is one sentence, from however deep it comes."""
    server.failure, server.ready_first = failure, False
    outcome = predictd("serve")
    assert outcome.code == 1
    assert "cannot start the gateway: " in outcome.err
    assert "predictd doctor" in outcome.err


def test_a_port_that_is_taken_names_the_process(server: Server, predictd: Predictd) -> None:
    """The hint says which process has the port, if that can be known, and --port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server.failure, server.ready_first = PortTaken("cannot listen: in use"), False
        outcome = predictd("serve", "--port", str(port))
    assert outcome.code == 1
    assert f"process {os.getpid()} (" in outcome.err
    assert "choose another port with --port" in outcome.err


def test_settings_are_listed_without_a_gateway(data: Path, predictd: Predictd) -> None:
    """`predictd settings` has each setting with default and meaning, or those of a name."""
    assert len(predictd("settings", "--json").json["settings"]) == len(SETTINGS)
    outcome = predictd("settings", "start_timeout")
    assert outcome.out.startswith("model_start_timeout: ")
    assert "default  60.0\n" in outcome.out


def test_settings_refused_at_use(server: Server, predictd: Predictd) -> None:
    """A setting that proves to be wrong when it is used is an error; exit code 2."""
    wrong = SettingsError("tls_key is not set")
    server.failure, server.ready_first = ExceptionGroup("nursery", [wrong]), False
    outcome = predictd("serve")
    assert (outcome.code, "tls_key is not set" in outcome.err) == (2, True)


@pytest.mark.parametrize(("failure", "first"), [(OSError("later"), True), (KeyError("x"), False)])
def test_defects_show_their_traceback(
    server: Server, predictd: Predictd, failure: Exception, first: bool
) -> None:
    """What fails while serving, or is no fault of the operator's, is never played down."""
    server.failure, server.ready_first = failure, first
    with pytest.raises(type(failure)):
        predictd("serve")


CHILD = """
import os
from gateway.cli.commands.serve import _end_with
_end_with(os.getppid())
print("ready", flush=True)
os.read(0, 1)
"""
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {CHILD!r}])
"""


def test_serve_ends_with_its_parent() -> None:
    """When the process that a gateway belongs to is killed, the kernel ends the gateway."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"ready\n"
        parent.kill()
        # Only the child still holds this pipe: the pipe's end is the child's.
        assert parent.stdout.read() == b""


def test_serve_never_starts_for_a_parent_that_is_gone() -> None:
    """A gateway that comes too late to end with its parent ends at once."""
    command = [sys.executable, "-m", "gateway.cli", "serve", "--parent", "999999999"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, b"has ended" in done.stderr) == (1, True)


def test_the_path_of_the_sdk(predictd: Predictd) -> None:
    """`predictd sdk-path` prints one folder, which holds what a session may import and no more."""
    path = Path(predictd("sdk-path").out.removesuffix("\n"))
    assert {entry.name for entry in path.iterdir()} - {"__pycache__"} == {
        "cdsw",
        "cml",
        "predictd_inside",
    }
    assert predictd("sdk-path", "--json").json == {"path": str(path)}
    path = Path(predictd("sdk-path", "--language", "r").out.removesuffix("\n"))
    assert {entry.name for entry in path.iterdir()} == {"cdsw", "cml", "predictd.inside"}

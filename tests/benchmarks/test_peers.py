"""The peers of the benchmarks: what the catalogue says of them, and that none outlives its turn.

Nothing is installed here; the servers that are started are stand-ins of the standard library.
"""

import http.client
import os
import re
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from benchmarks.peers.catalogue import FOLDER, PEERS, Peer, PeerFailed, Served
from benchmarks.peers.installation import installed
from benchmarks.peers.pipe import pipe_round_trips
from benchmarks.peers.serving import WARM_UP, Launch, Question

ROOT = Path(__file__).parents[2]
TABLE = (FOLDER / "README.md").read_text().partition("\n| file |")[0]
ROWS = {
    cells[0].strip("` "): [cell.strip() for cell in cells[1:]]
    for cells in (row.split("|")[1:-1] for row in re.findall(r"^\| `.+$", TABLE, re.MULTILINE))
}
SERVER = """
import http.server, os, subprocess, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        if closing:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass

reply, closing = b"8", False
"""
SERVE = 'http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()'

MakePeer = Callable[..., Peer]


@pytest.fixture
def stand_in(tmp_path: Path) -> MakePeer:
    """Makes a peer whose server runs the given lines before it serves."""

    def make(lines: str = "", *, patience: float = 30.0, python: str = sys.executable) -> Peer:
        folder = tmp_path / "stand_in"
        folder.mkdir()
        (folder / "server.py").write_text(f"{SERVER}{textwrap.dedent(lines)}\n{SERVE}\n")
        launch = Launch([python, "server.py", "$port"], patience=patience)
        return Peer(name="Stand-in", isolation="none", folder=folder, launch=launch)

    return make


def ask(served: Served) -> bytes:
    connection = http.client.HTTPConnection(served.host, served.port)
    connection.request("POST", served.path, served.body, dict(served.headers))
    reply = connection.getresponse().read()
    connection.close()
    return reply


def wait_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert alive == []


@pytest.mark.parametrize("key", PEERS)
def test_every_requirement_is_pinned(key: str) -> None:
    """What a peer runs on is named to the last digit, so that a figure can be had again."""
    requirements = PEERS[key].folder / "requirements.txt"
    assert requirements.exists() == (PEERS[key].isolation != "floor")
    for line in requirements.read_text().splitlines() if requirements.exists() else []:
        assert re.fullmatch(r"[\w.\[\]-]+==[\w.]+", line), line


@pytest.mark.parametrize("key", PEERS)
def test_every_peer_has_a_row(key: str) -> None:
    """The README says of each peer its isolation and the versions it is pinned to."""
    isolation, versions, _, _ = ROWS[key]
    assert isolation == PEERS[key].isolation
    requirements = PEERS[key].folder / "requirements.txt"
    if requirements.exists():
        pinned = {line.lower() for line in requirements.read_text().splitlines()}
        assert {told.lower().replace(" ", "==") for told in versions.split(", ")} <= pinned


def test_every_row_is_a_peers() -> None:
    """The README names no removed peer."""
    assert set(ROWS) == set(PEERS)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*/*.py")), ids=lambda f: f"{f.parent.name}")
def test_peers_files_compile(file: Path) -> None:
    """The files that peers serve are Python, though nothing here can import them."""
    compile(file.read_text(), file, "exec")


def test_started_answers_and_ends(stand_in: MakePeer) -> None:
    """A peer is yielded when it answers rightly, and leaves no process and no folder."""
    with stand_in().started(Path("unused")) as served:
        assert ask(served) == b"8"
        assert served.seconds_to_answer > 0
        processes = [psutil.Process(pid) for pid in served.pids]
        [work] = {process.cwd() for process in processes}
        assert sorted(os.listdir(work)) == ["output.txt", "server.py"]
    assert not any(process.is_running() for process in processes)
    assert not Path(work).exists()


def test_orphans_end_too(stand_in: MakePeer) -> None:
    """A process that left its session and its parent, and ignores SIGTERM, ends with the peer."""
    peer = stand_in("""
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                import signal
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(600)
            os._exit(0)
        os.wait()
    """)
    with peer.started(Path("unused")) as served:
        processes = [psutil.Process(pid) for pid in served.pids]
        assert len(processes) == 2
    assert not any(process.is_running() for process in processes)


def test_ends_whatever_happens(stand_in: MakePeer) -> None:
    """An exception of the measurement ends the peer as well."""
    processes: list[psutil.Process] = []

    def measure() -> None:
        with stand_in().started(Path("unused")) as served:
            processes.extend(psutil.Process(pid) for pid in served.pids)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure()
    assert processes
    assert not any(process.is_running() for process in processes)


def test_ends_with_a_killed_harness(stand_in: MakePeer, tmp_path: Path) -> None:
    """Not even SIGKILL to the harness leaves a server behind."""
    folder = stand_in().folder
    harness = f"""
        import sys, time
        from pathlib import Path
        from benchmarks.peers.catalogue import Launch, Peer
        launch = Launch([sys.executable, "server.py", "$port"])
        peer = Peer(name="x", isolation="none", folder=Path({str(folder)!r}), launch=launch)
        with peer.started(Path("unused")) as served:
            print(*served.pids, flush=True)
            time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(harness)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        servers = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        assert servers
        process.kill()
    wait_gone(servers)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("reply = b'9'", r"gave the wrong answer: b'9'"),
        ("reply = b'{eight}'", r"gave the wrong answer: b'{eight}'"),
        ("closing = True", r"closed the connection after 1 requests"),
        ("print('no model'); sys.exit(3)", r"(?s)ended by itself with status 3.*no model"),
    ],
)
def test_bad_servers(stand_in: MakePeer, lines: str, reason: str) -> None:
    """A server that answers wrongly, hangs up or ends is no peer to measure, and is told why."""
    with pytest.raises(PeerFailed, match=reason), stand_in(lines).started(Path("unused")):
        pytest.fail("it was believed")


def test_no_answer(stand_in: MakePeer) -> None:
    """A server that never answers is given up after its patience, with what it printed."""
    peer = stand_in("print('loading', flush=True); time.sleep(600)", patience=1.0)
    with (
        pytest.raises(PeerFailed, match=r"(?s)did not answer in time: Conn.*loading"),
        peer.started(Path("unused")),
    ):
        pytest.fail("it was believed")


def test_warmed_means_asked_often(stand_in: MakePeer) -> None:
    """The right answer must be given again and again, not once."""
    peer = stand_in("""
        class Handler(Handler):
            count = 0

            def do_POST(self):
                global reply
                Handler.count += 1
                reply = b"8" if Handler.count <= 20 else b"9"
                super().do_POST()
    """)
    assert WARM_UP > 20
    with pytest.raises(PeerFailed, match="wrong answer"), peer.started(Path("unused")):
        pytest.fail("it was believed")


def test_its_own_way_to_answer(stand_in: MakePeer) -> None:
    """Each peer says where in its reply the result is."""
    peer = stand_in("""reply = b'{"outputs": [8]}'""")
    question = Question(result=lambda reply: reply["outputs"][0])
    known = Peer(peer.name, peer.isolation, peer.folder, peer.launch, question)
    with known.started(Path("unused")) as served:
        assert ask(served) == b'{"outputs": [8]}'


def test_missing_program(stand_in: MakePeer) -> None:
    """What the machine lacks is named together with the package that brings it."""
    peer = stand_in()
    needy = Peer(
        name=peer.name,
        isolation=peer.isolation,
        folder=peer.folder,
        launch=peer.launch,
        programs=(("no-such-program", "no-such-package"),),
    )
    with (
        pytest.raises(PeerFailed, match=r"no `no-such-program`: install .* no-such-package"),
        needy.started(Path("unused")),
    ):
        pytest.fail("it was believed")


def test_installed_once(
    stand_in: MakePeer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The virtualenv is made on the first start, with progress on stderr, and kept."""
    info = "stand_in-1.0.dist-info"
    with zipfile.ZipFile(tmp_path / "stand_in-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("stand_in.py", "reply = b'8'\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: stand-in\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    peer = stand_in("from stand_in import reply", python="$bin/python")
    requirements = f"--no-index\n--find-links {tmp_path}\nstand-in==1.0\n"
    (peer.folder / "requirements.txt").write_text(requirements)
    for expected in (True, False):
        with peer.started(tmp_path / "cache") as served:
            assert ask(served) == b"8"
        assert (
            "Stand-in: Successfully installed stand-in-1.0" in capfd.readouterr().err
        ) == expected


def test_failed_installation(tmp_path: Path) -> None:
    """What pip said is told, and half an installation is not marked as a whole one."""
    requirements = tmp_path / "peer" / "requirements.txt"
    requirements.parent.mkdir()
    requirements.write_text("--no-index\nno-such-project==1.0\n")
    with pytest.raises(PeerFailed, match=r"(?s)did not install.*no-such-project==1.0"):
        installed("Stand-in", requirements, tmp_path / "cache")
    assert list((tmp_path / "cache").glob("peer-*/bin/python"))
    assert not list((tmp_path / "cache").glob("peer-*/installed"))


def test_pipe_floor() -> None:
    """The pipe's floor is measured on round trips that took place."""
    began, cores = time.monotonic(), os.sched_getaffinity(0)
    measured = pipe_round_trips(0.2)
    assert os.sched_getaffinity(0) == cores
    assert measured.count > 100
    assert 0 < measured.p50 <= measured.p99 <= measured.p999
    assert measured.count * measured.p50 / 1e6 <= 2 * (time.monotonic() - began)

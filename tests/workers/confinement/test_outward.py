"""The network `outward`, on a machine of the test's own: a network namespace with addresses of its
own, services on all of them, and beside it another machine, outside."""

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.confinement import unconfined
from tests.support.other_user import run_as
from tests.support.skipping import not_here
from tests.workers.confinement.test_confinement import NOBODY, PATH, data
from workers.confinement import (
    Confinement,
    Launch,
    Network,
    SandboxView,
    levels,
    open_confinement,
    outward,
)
from workers.process.process import Process, kill_tree, marked, pipe, spawn

__all__ = ["data"]

PORT = 18765
OWN, OUTSIDE, METADATA = "10.213.0.1", "10.213.0.2", "169.254.169.254"
GROUP = "224.0.0.251"
# As arguments: what to connect to. Tells which answer.
CONNECT = """
import json, socket, sys
def connects(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as asked:
        asked.settimeout(5)
        try:
            asked.connect((host, int(sys.argv[1])))
        except OSError:
            return False
        return True
print(json.dumps([host for host in sys.argv[2:] if connects(host)]))
"""
# The same by sockets that ask no routes, and whether the device dropped a datagram to a group.
BOUND = """
import json, socket, sys
port, group, device = int(sys.argv[1]), sys.argv[2], sys.argv[3]
def dropped():
    (line,) = [each for each in open("/proc/net/dev") if each.strip().startswith(device + ":")]
    return int(line.split()[12])
told = []
for host in sys.argv[4:]:
    with socket.socket() as asked:
        asked.settimeout(1.5)
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        try:
            asked.connect((host, port))
        except OSError:
            continue
        told.append(host)
before = dropped()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
    asked.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    asked.sendto(b"x", (group, port))
print(json.dumps([told, dropped() - before]))
"""
_NEWNET, _NEWNS = 0x40000000, 0x00020000


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _serve(*hosts: str) -> list[socket.socket]:
    return [
        socket.create_server(
            (host, PORT), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
        for host in hosts
    ]


def _be_a_machine() -> list[socket.socket]:
    """This process becomes one, until it ends. Returns its services."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEWNET | _NEWNS):
        raise PermissionError(ctypes.get_errno(), "this process may not make a machine")
    _run("mount", "--make-rprivate", "/")
    # A user may open it on most machines.
    _run("mount", "-t", "tmpfs", "none", "/dev/net")
    _run("mknod", "--mode=0666", "/dev/net/tun", "c", "10", "200")
    _run("ip", "link", "set", "lo", "up")
    script = f"import socket, time; s = socket.create_server(('', {PORT})); print(); time.sleep(60)"
    # Its stdin is the end of a pipe: it ends with this process.
    outside = subprocess.Popen(
        ["unshare", "--net", "setpriv", "--pdeathsig", "KILL", sys.executable, "-uc", script],
        stdout=subprocess.PIPE,
    )
    assert outside.stdout
    outside.stdout.readline()
    _run(
        "ip", "link", "add", "in", "type", "veth", "peer", "name", "out", "netns", str(outside.pid)
    )
    _run("ip", "addr", "add", f"{OWN}/24", "dev", "in")
    _run("ip", "link", "set", "in", "up")
    enter = ("nsenter", "--net", "--target", str(outside.pid))
    _run(*enter, "ip", "addr", "add", f"{OUTSIDE}/24", "dev", "out")
    _run(*enter, "ip", "link", "set", "out", "up")
    # The metadata of a cloud, as near as it can be.
    _run("ip", "addr", "add", f"{METADATA}/32", "dev", "lo")
    _run("ip", "route", "add", f"{GROUP}/32", "dev", "in")
    return _serve("127.0.0.1", "::1", OWN, METADATA)


def _on_a_machine(
    level: str, data: Path, work: Callable[[Confinement, SandboxView], object]
) -> object:
    """What `work` returns at a level, on a machine with services that answer."""
    if os.geteuid() != 0:
        not_here("only root can make a machine")
    for tool, package in (("slirp4netns", "slirp4netns"), ("ip", "iproute2")):
        if not levels.program(tool):
            pytest.skip(f"{package} is missing")
    if not Path("/dev/net/tun").exists():
        not_here("this kernel makes no /dev/net/tun")
    view = SandboxView(home=data / "replicas" / "home", tmp=data / "replicas" / "tmp", identity=7)

    def confined() -> object:
        confinement = open_confinement(level, data / "confinement")
        confinement.chown_writable(view)
        if level == "userns":  # who may not enter the folder of ours
            sys.executable = "/usr/bin/python3"
        return work(confinement, view)

    def on_machine() -> object:
        services = _be_a_machine()
        answer = run_as(NOBODY if level == "userns" else 0, confined)
        del services
        return answer

    if level == "userns":
        for path in (data, *data.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    answer = run_as(0, on_machine)
    if isinstance(answer, str) and answer.startswith(("ConfinementUnavailable", "PermissionError")):
        not_here(answer)
    return answer


def _started(
    confinement: Confinement, view: SandboxView, network: Network, command: list[str], mark: str
) -> tuple[Process, int]:
    view = SandboxView(home=view.home, tmp=view.tmp, network=network, identity=7)
    launch = confinement.launch(command, cwd=view.home, variables=PATH, view=view)
    out, write = pipe()
    try:
        return spawn(launch, mark=mark, stdout=write, stderr=write), out
    finally:
        os.close(write)


def _told(confinement: Confinement, view: SandboxView, network: Network, command: list[str]) -> str:
    """What a command says; afterwards nothing of it is left."""
    mark = f"test-outward-{os.getpid()}/"
    process, out = _started(confinement, view, network, command, mark)
    select.select([process.pidfd], [], [], 20)
    process.kill()
    process.reap()
    process.await_group()
    kill_tree(mark)
    with os.fdopen(out) as said:
        return said.read()


def _python(script: str, *arguments: str) -> list[str]:
    return ["/usr/bin/python3", "-c", script, str(PORT), *arguments]


@pytest.mark.parametrize("level", ["users", "userns"])
def test_outward_network_reaches_other_machines_only(level: str, data: Path) -> None:
    """The network reaches other machines; it reaches no service of this machine by any address, and
    no metadata service."""
    in_it = [f"198.51.100.{last}" for last in (2, 3, 100)]
    hosts = ["127.0.0.1", "127.0.0.5", "::1", OWN, METADATA, OUTSIDE, "0.0.0.0", *in_it]

    def reached(confinement: Confinement, view: SandboxView) -> object:
        networks: tuple[Network, ...] = ("none", "outward", "machine")
        command = _python(CONNECT, *hosts)
        return {each: json.loads(_told(confinement, view, each, command)) for each in networks}

    assert _on_a_machine(level, data, reached) == {
        "none": [],
        "outward": [OUTSIDE],
        "machine": ["127.0.0.1", "::1", OWN, METADATA, OUTSIDE, "0.0.0.0"],
    }


def test_socket_bound_to_the_device_is_filtered(data: Path) -> None:
    """A socket that is bound to the device bypasses the routes; the filter of the device stops
    it."""

    def reached(confinement: Confinement, view: SandboxView) -> object:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member:
            member.bind((GROUP, PORT))
            joined = socket.inet_aton(GROUP) + socket.inet_aton(OWN)
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
            member.settimeout(0.5)
            told = []
            devices: dict[Network, str] = {"machine": "in", "outward": outward.DEVICE}
            for network, device in devices.items():
                command = _python(BOUND, GROUP, device, METADATA, OWN, OUTSIDE)
                text = _told(confinement, view, network, command)
                try:
                    told.append([json.loads(text), member.recv(10).decode()])
                except TimeoutError:
                    told.append([json.loads(text), "nothing"])
        return told

    told = _on_a_machine("users", data, reached)
    assert isinstance(told, list), told
    assert told[0][0][1:] + told[0][1:] == [0, "x"]
    assert told[1] == [[[OUTSIDE], 1], "nothing"]


@pytest.mark.parametrize("level", ["users", "userns"])
def test_command_with_network_has_one_device_and_a_resolver(level: str, data: Path) -> None:
    """The command has the descriptors that every command has, one device without IPv6, and the
    resolver of its own network."""
    script = """
readlink /proc/self/fd/* | sed 's/:.*//' | sort | tr '\\n' ' ' && echo
tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort | tr '\\n' ' ' && echo
tr -s ' ' </proc/net/if_inet6 | cut -d' ' -f6 | tr '\\n' ' ' && echo
sed -n 's/^nameserver //p' /etc/resolv.conf
"""

    def given(confinement: Confinement, view: SandboxView) -> object:
        networks: tuple[Network, ...] = ("none", "outward")
        command = ["/bin/sh", "-c", script]
        return [_told(confinement, view, each, command).splitlines() for each in networks]

    told = _on_a_machine(level, data, given)
    assert isinstance(told, list), told
    none, own = told
    assert own[0] == none[0]
    assert own[1:] == ["lo tap0 ", "lo ", outward.RESOLVER]


def _names(mark: str) -> list[str]:
    """Of what runs with a mark."""
    names = []
    for pid in marked(mark):
        with suppress(OSError):  # ended meanwhile
            names.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return names


def _left(mark: str) -> list[str]:
    """What still runs with a mark when all had time to end."""
    end = time.monotonic() + 5
    while (left := _names(mark)) and time.monotonic() < end:
        time.sleep(0.01)
    return left


@pytest.mark.parametrize("level", ["users", "userns"])
@pytest.mark.parametrize("how", ["it ends", "it is killed", "the gateway is killed"])
def test_slirp4netns_ends_with_the_namespace(level: str, how: str, data: Path) -> None:
    """slirp4netns ends by itself when the namespace of the command ends, for any reason; no
    descriptor of its start stays."""
    mark = f"test-outward-{os.getpid()}-ends/"
    end = "" if how == "it ends" else "sleep 60"
    command = ["/bin/sh", "-c", f"echo begun; {end or 'sleep 0.5'}"]

    def gateway(confinement: Confinement, view: SandboxView, tells: int = -1) -> list[str]:
        process, out = _started(confinement, view, "outward", command, mark)
        assert os.read(out, 200) == b"begun\n"
        names = _names(mark)
        if how == "the gateway is killed":
            os.write(tells, json.dumps(names).encode())
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "it is killed":
            os.kill(process.command_pid, signal.SIGKILL)
        select.select([process.pidfd], [], [], 10)
        process.reap()
        os.close(out)
        return names

    def scene(confinement: Confinement, view: SandboxView) -> object:
        before = os.listdir("/proc/self/fd")
        if how == "the gateway is killed":
            reads, tells = os.pipe()
            if (pid := os.fork()) == 0:
                try:
                    gateway(confinement, view, tells)
                finally:
                    os._exit(1)
            os.close(tells)
            os.waitpid(pid, 0)
            with os.fdopen(reads) as told:
                names = json.loads(told.read())
        else:
            names = gateway(confinement, view)
        left = _left(mark)
        return [names.count("slirp4netns"), left, len(os.listdir("/proc/self/fd")) - len(before)]

    try:
        assert _on_a_machine(level, data, scene) == [1, [], 0]
    finally:
        kill_tree(mark)


@pytest.mark.parametrize("level", ["users", "userns"])
def test_network_survives_the_end_of_other_trees(level: str, data: Path) -> None:
    """slirp4netns is an orphan with a filter of system calls; it is not mistaken for a process that
    left its tree."""
    mark = f"test-outward-{os.getpid()}-lasts/"

    def lasts(confinement: Confinement, view: SandboxView) -> object:
        waits = [
            "/bin/sh",
            "-c",
            'echo begun; while [ ! -e go ]; do sleep 0.1; done; exec "$@"',
            "-",
        ]
        process, out = _started(
            confinement, view, "outward", [*waits, *_python(CONNECT, OWN, OUTSIDE)], mark
        )
        assert os.read(out, 200) == b"begun\n"
        _told(confinement, view, "outward", ["true"])
        (view.home / "go").touch()
        select.select([process.pidfd], [], [], 20)
        process.reap()
        kill_tree(mark)
        with os.fdopen(out) as said:
            return json.loads(said.read())

    assert _on_a_machine(level, data, lasts) == [OUTSIDE]


@pytest.mark.parametrize("level", ["users", "userns"])
def test_command_does_not_start_if_slirp4netns_fails(level: str, data: Path) -> None:
    """Where slirp4netns fails the command does nothing, and the reason is reported."""

    def fails(confinement: Confinement, view: SandboxView) -> object:
        launch = confinement.launch(
            ["/bin/sh", "-c", "echo begun; sleep 5"],
            cwd=view.home,
            variables=PATH,
            view=SandboxView(home=view.home, tmp=view.tmp, network="outward", identity=7),
        )
        launch = Launch(
            launch.command,
            tuple("/bin/false" if each.endswith("slirp4netns") else each for each in launch.chain),
            launch.descriptors,
            wrapped=True,
            fence=launch.fence,
        )
        out, write = pipe()
        process = spawn(launch, mark="test-outward-fails/", stdout=write, stderr=write)
        os.close(write)
        select.select([process.pidfd], [], [], 10)
        status = process.reap()
        with os.fdopen(out) as said:
            return [status, said.read(), _left("test-outward-fails/")]

    told = _on_a_machine(level, data, fails)
    assert isinstance(told, list), told
    status, said, left = told
    assert (status, left) == (-signal.SIGKILL, [])
    assert said.startswith("predictd: no network 'outward' for this process: slirp4netns ended")
    assert "begun" not in said


def test_start_without_outward_network_uses_bubblewrap_alone(data: Path) -> None:
    """All other starts use bubblewrap alone."""
    if os.geteuid() != 0:
        not_here("this needs to be run by root")
    confinement = open_confinement("users", data / "confinement")
    networks: tuple[Network, ...] = ("none", "machine", "listen")
    for network in networks:
        view = SandboxView(
            home=data / "replicas" / "home", tmp=data / "replicas" / "tmp", network=network
        )
        launch = confinement.launch(["true"], cwd=view.home, variables={}, view=view)
        launch.close()
        assert launch.chain[0] == levels.program("bwrap")
        assert not any("fd" in word for word in launch.chain)


def test_missing_outward_network_names_the_remedy(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request for the network says what to install, or that this isolation has no networks."""
    assert "the isolation in force, 'none'" in unconfined(data).missing_for("outward")
    assert unconfined(data).missing_for("machine") == ""
    confinement = unconfined(data)
    confinement.level = "users"
    monkeypatch.setattr(levels, "program", lambda name: "")
    assert confinement.missing_for("outward").endswith("install slirp4netns")
    assert confinement.missing_for("none") == ""

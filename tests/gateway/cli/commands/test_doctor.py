"""The doctor: each finding says what is the case, and what to do when that is not good."""

import json
import os
import resource
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pynvml
import pytest
import trustme

from gateway.operations import doctor
from gateway.operations.doctor import DoctorInput, Finding, examine
from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import State
from tests.support.gpus import fake_gpus
from workers.kernel_limits import Bound


class Python(NamedTuple):
    version: str
    path: Path
    default: bool
    language: str = "python"


PYTHONS = [
    Python("3.8.18", Path("/usr/bin/python3.8"), False),
    Python("3.11.7", Path("/usr/bin/python3.11"), True),
]


def machine(data: Path, port: int = 0, **environment: str) -> DoctorInput:
    return DoctorInput(data=data, host="127.0.0.1", port=port, environment=environment)


def look(machine: DoctorInput, name: str) -> Finding:
    return next(
        each for each in examine(machine, interpreters=lambda: PYTHONS) if each.name == name
    )


def test_every_finding_that_is_not_good_has_advice(tmp_path: Path) -> None:
    """Each problem comes with advice."""
    findings = examine(machine(tmp_path), interpreters=list)
    assert len({each.name for each in findings}) == len(findings) == 14
    assert all(each.advice for each in findings if each.state != "ok")
    assert not any(each.advice for each in findings if each.state == "ok")


def test_interpreters(tmp_path: Path) -> None:
    """All are listed with their paths; none at all, or a broken default, is an obstacle."""
    found = look(machine(tmp_path), "interpreters").found
    assert found == "3.8.18 at /usr/bin/python3.8, 3.11.7 (default) at /usr/bin/python3.11"
    assert examine(machine(tmp_path), interpreters=list)[0].state == "missing"
    r = Python("4.2.2", Path("/usr/bin/Rscript"), False, "r")
    _, of_r, *_ = examine(machine(tmp_path), interpreters=lambda: [*PYTHONS, r])
    assert of_r == Finding("R", "ok", "4.2.2 at /usr/bin/Rscript", "")

    def broken() -> list[Python]:
        raise LookupError("the default does not run")

    finding = examine(machine(tmp_path), interpreters=broken)[0]
    assert (finding.state, finding.found) == ("missing", "the default does not run")


def test_a_tool_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git and bash there is no build; without R there is no harm."""
    monkeypatch.setenv("PATH", str(tmp_path))
    states = {name: look(machine(tmp_path), name).state for name in ("git", "bash", "R")}
    assert states == {"git": "missing", "bash": "missing", "R": "ok"}


def test_unusable_r_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An R that models cannot have is told, with the package that it lacks."""
    program = tmp_path / "Rscript"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    finding = look(machine(tmp_path), "R")
    assert finding.state == "warning"
    assert "r-cran-jsonlite" in finding.advice


def test_isolation_is_told_honestly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is weaker than it could be is said to be so, and what a stronger level lacks."""
    monkeypatch.setattr("workers.confinement.levels.program", lambda name: "")
    finding = look(machine(tmp_path), "isolation")
    assert finding.state == "warning"
    assert "code that you trust" in finding.advice
    assert "bwrap is missing: install bubblewrap" in finding.advice


def test_a_level_weaker_than_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the gateway would refuse to start, the checkup says so, and what accepts it."""
    monkeypatch.setattr("workers.confinement.levels.program", lambda name: "")
    (tmp_path / "isolation").write_text("root\n")
    finding = look(machine(tmp_path), "isolation")
    assert finding.state == "missing"
    assert "last served with 'users'" in finding.found
    assert "set isolation = " in finding.advice


def test_limits_are_told_honestly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is weaker without cgroups is named, and how to get them."""
    monkeypatch.setattr("workers.cgroups.tree.own_memberships", list)
    finding = look(machine(tmp_path), "limits")
    assert finding.state == "warning"
    assert "memory is checked once a second" in finding.found
    assert "CPU is not limited" in finding.found
    assert "Delegate=yes" in finding.advice


def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the driver has no finding; else what can be assigned, and what not."""
    with fake_gpus(2) as gpus:
        driver = gpus.driver()
        monkeypatch.setattr("workers.gpus.NvmlDriver", lambda: driver)
        found = look(machine(tmp_path), "GPUs")
        assert found.state == "ok"
        assert found.found.startswith("driver 550.54.15; 2 of 2 can be assigned; NVIDIA A2 (/dev/")
        gpus.change(0, mig=1)
        (gpus.dev / "nvidia-uvm").unlink()
        found = look(machine(tmp_path), "GPUs")
        assert found.state == "warning"
        assert "1 of 2 can be assigned" in found.found
        assert "MIG mode" in found.found
        assert "nvidia-uvm is missing" in found.found
        gpus.load = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
        gpus.write()
        driver.close()
        assert look(machine(tmp_path), "GPUs").found == "NVML: Driver Not Loaded"


def test_data_folder(tmp_path: Path) -> None:
    """A folder that can be made is fine; one below a file is not."""
    assert look(machine(tmp_path / "a" / "b"), "data folder").state == "ok"
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    assert look(machine(tmp_path / "file" / "b"), "data folder").state == "missing"


def test_a_read_only_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be written is an obstacle."""
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    assert look(machine(tmp_path), "data folder").state == "missing"


@pytest.mark.parametrize(("free", "state"), [(1, "missing"), (1 << 30, "warning"), (1 << 40, "ok")])
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    """Little disk is a warning, next to none an obstacle."""

    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(free))
    assert look(machine(tmp_path), "disk").state == state


def test_port(tmp_path: Path) -> None:
    """A port in use is an obstacle, unless it is our own gateway that uses it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert look(machine(tmp_path, port), "port").state == "missing"
        ours = DoctorInput(tmp_path, "127.0.0.1", port, {}, gateway_port=port)
        assert look(ours, "port").state == "ok"
    assert look(machine(tmp_path, port), "port").state == "ok"


@pytest.mark.parametrize(("days", "state"), [(-1, "missing"), (20, "warning"), (60, "ok")])
def test_certificate_of_the_running_gateway(tmp_path: Path, days: int, state: str) -> None:
    """It tells when the certificate expires, and warns three weeks before."""
    expires = datetime.now(UTC) + timedelta(days=days, hours=1)
    authority = trustme.CA()
    begins = expires - timedelta(days=90)
    issued = authority.issue_cert("localhost", not_before=begins, not_after=expires)
    running = DoctorInput(
        *(tmp_path, "127.0.0.1", 8443, {}),
        gateway_port=8443,
        gateway_pid=os.getpid(),
        certificate=issued.cert_chain_pems[0].bytes().decode(),
    )
    finding = look(running, "certificate")
    assert finding.state == state
    assert f"{expires:%Y-%m-%d}" in finding.found
    assert f"process {os.getpid()} serves {tmp_path} on port 8443" in look(running, "gateway").found


def test_doctor_looks_at_the_port_of_the_running_gateway(
    state: State, data: Path, predictd: Predictd
) -> None:
    """Without --port it is the port of the gateway that runs on the data folder."""
    (data / "gateway.json").write_text(json.dumps({"url": state.url, "pid": os.getpid()}))
    findings = {each["name"]: each for each in predictd("doctor", "--json").json["findings"]}
    port = state.url.rpartition(":")[2]
    assert findings["port"]["found"] == f"{port} is in use by the gateway of this data folder"
    assert findings["gateway"]["state"] == "ok"


@pytest.mark.parametrize(
    ("limits", "state"), [((1024, 1024), "warning"), ((1024, 65536), "ok"), ((-1, -1), "ok")]
)
def test_open_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], state: str
) -> None:
    """A low limit that the gateway cannot raise by itself is a warning, with how to raise it."""
    monkeypatch.setattr("resource.getrlimit", lambda _: limits)
    finding = look(machine(tmp_path), "open files")
    assert finding.state == state
    assert state == "ok" or "LimitNOFILE=" in finding.advice


def test_the_limits_of_the_gateway_that_runs(tmp_path: Path) -> None:
    """Limits and use are those of the gateway, where there is one."""
    with subprocess.Popen(["sleep", "60"]) as process:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (300, 300))
        running = DoctorInput(tmp_path, "127.0.0.1", 0, {}, gateway_pid=process.pid)
        finding = look(running, "open files")
        assert finding.found.startswith("3 of 300: 120 connections, 10 replicas")
        process.kill()


@pytest.mark.parametrize(
    ("name", "limit", "free", "state"),
    [
        ("tasks", "tasks", 10, "warning"),
        ("tasks", "tasks", 100_000, "ok"),
        ("memory", "memory", 10 << 20, "warning"),
        ("memory", "memory", 10 << 30, "ok"),
    ],
)
def test_tasks_and_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: str, free: int, state: str
) -> None:
    """Where little is left, the limit is named, and how it is raised."""
    bound = Bound(most=free + 7, used=7, source="pids.max of /x", remedy="raise it there")
    monkeypatch.setattr(f"workers.kernel_limits.{limit}", lambda pid: bound)
    finding = look(machine(tmp_path), name)
    assert finding.state == state
    assert "by pids.max of /x" in finding.found
    assert state == "ok" or "raise it there" in finding.advice


def test_packages(tmp_path: Path) -> None:
    """Settings of the user's that builds will not see are named, their values are not."""
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").touch()
    found = look(machine(tmp_path, https_proxy="secret", HOME=str(tmp_path)), "packages")
    assert found.state == "warning"
    assert "https_proxy" in found.found
    assert "pip.conf" in found.found
    assert "secret" not in found.found
    assert look(machine(tmp_path, PATH="/bin", HOME="/nonexistent"), "packages").state == "ok"


def test_the_verb(state: State, predictd: Predictd, monkeypatch: pytest.MonkeyPatch) -> None:
    """`predictd doctor` exits with 1 exactly when something needed is missing."""
    monkeypatch.setattr(doctor, "_discovered", lambda: PYTHONS)
    port = state.url.rpartition(":")[2]
    good = predictd("doctor", "--port", port)
    assert (good.code, "Ready: try `predictd demo`." in good.out) == (0, True)
    assert "in use by the gateway of this data folder" in good.out
    monkeypatch.setattr(doctor, "_discovered", list)
    bad = predictd("doctor", "--port", port, "--json")
    assert (bad.code, bad.json["ready"]) == (1, False)
    assert bad.json["findings"][0]["state"] == "missing"

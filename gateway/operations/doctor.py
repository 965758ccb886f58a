"""Checks whether this machine can build and serve models, and the gateway that runs on it.

A check returns a finding: its subject, the result, and advice if there is a problem. Nothing is
changed, and no gateway is needed. `missing` means that models cannot be built or served, `warning`
that something works less well.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

GIB = 1 << 30
# Below these a check warns; below MIN_DISK it fails.
MIN_DISK, LOW_DISK = GIB // 2, 5 * GIB
FEW_FILES, FEW_TASKS, LOW_MEMORY = 4096, 1000, GIB // 2
FEW_DAYS = 21  # of a certificate
PIP_VARIABLES = re.compile(r"PIP_\w+|UV_\w+|(https?|all|no)_proxy", re.IGNORECASE)


class FoundInterpreter(Protocol):
    """What a check says about an interpreter that models can run on."""

    @property
    def version(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def default(self) -> bool: ...
    @property
    def language(self) -> str: ...


@dataclass(frozen=True)
class Finding:
    """The result of one check; `advice` is empty if there is no problem."""

    name: str
    state: Literal["ok", "warning", "missing"]
    found: str
    advice: str = ""


@dataclass(frozen=True)
class DoctorInput:
    """The data folder and port of the gateway, and the user's environment."""

    data: Path
    host: str
    port: int
    environment: Mapping[str, str]
    # Of the gateway that runs on this data folder.
    gateway_port: int | None = None
    gateway_pid: int | None = None
    certificate: str = ""  # PEM
    # What that gateway says of its disk (`disk` of /site), and what `gc` would remove: None if it
    # was not asked.
    gateway_disk: Mapping[str, Any] | None = None
    removable: tuple[int, int] | None = None  # things, bytes


def examine(
    machine: DoctorInput, *, interpreters: Callable[[], Iterable[FoundInterpreter]] | None = None
) -> list[Finding]:
    """Runs all checks. Takes about as long as starting each interpreter that is found."""
    return [
        *_interpreters(interpreters or _discovered),
        _git(),
        _bash(),
        _isolation(machine.data),
        _limits(),
        *_gpus(),
        _data_folder(machine.data),
        _set_aside(machine.data),
        _disk(machine.data),
        *_gateway(machine),
        *_gateway_disk(machine),
        _port(machine),
        *_certificate(machine, datetime.now(UTC)),
        _open_files(machine),
        _tasks(machine),
        _memory(machine),
        _packages(machine.environment),
    ]


def _discovered() -> Iterable[FoundInterpreter]:
    import trio

    from builder import InterpreterUnusable, discover

    try:
        return trio.run(discover)
    except InterpreterUnusable as error:
        raise LookupError(error.problem) from error


def _interpreters(discover: Callable[[], Iterable[FoundInterpreter]]) -> Iterator[Finding]:
    advice = "Install CPython 3.8 or newer with its venv module (python3-venv)."
    try:
        found = list(discover())
    except LookupError as error:
        yield Finding("interpreters", "missing", str(error), advice)
        return
    described = [
        f"{each.version}{' (default)' if each.default else ''} at {each.path}"
        for each in found
        if each.language == "python"
    ]
    if described:
        yield Finding("interpreters", "ok", ", ".join(described))
    else:
        yield Finding("interpreters", "missing", "no Python for models", advice)
    yield _r([f"{each.version} at {each.path}" for each in found if each.language == "r"])


def _r(described: Sequence[str]) -> Finding:
    """Without R all else works."""
    if described:
        return Finding("R", "ok", ", ".join(described))
    if program := shutil.which("Rscript"):
        return Finding(
            *("R", "warning", f"{program} is older than 4.0, or has no package jsonlite"),
            "Install a newer R, or `r-cran-jsonlite`, for models of R.",
        )
    needed = "models of R need r-base-core and r-cran-jsonlite, all else works"
    return Finding("R", "ok", f"not found: {needed}")


def _git() -> Finding:
    if version := _first_line("git", "--version"):
        return Finding("git", "ok", version.removeprefix("git version "))
    return Finding(
        "git", "missing", "not found", "Install git: it makes the snapshots of projects."
    )


def _bash() -> Finding:
    if version := _first_line("bash", "--version"):
        return Finding("bash", "ok", version)
    return Finding("bash", "missing", "not found", "Install bash: it runs cdsw-build.sh.")


def _isolation(data: Path) -> Finding:
    """Tries the levels, strongest first."""
    from gateway.data_folder import DataFolder
    from gateway.isolation import last_served
    from workers.confinement import MEANINGS, is_weaker, open_confinement

    with tempfile.TemporaryDirectory() as folder:
        confinement = open_confinement("auto", Path(folder, "confinement"))
    level = confinement.level
    found = f"{level}: {MEANINGS[level]}"
    if not shutil.which("setpriv"):
        found += "; without setpriv (util-linux) a busy replica outlives a gateway that is killed"
    if confinement.unfenced:
        found += f"; models may listen on any TCP port: {confinement.unfenced}"
    reasons = "; ".join(f"{each}: {reason}" for each, reason in confinement.refused.items())
    before = None
    with suppress(OSError):  # the check of the data folder reports it
        before = last_served(DataFolder(data))
    if before and is_weaker(level, before):
        found += f"; the data folder was last served with {before!r}"
        advice = (
            f"Fix this: {reasons}. Or set isolation = {level!r}, else the gateway does not start."
        )
        return Finding("isolation", "missing", found, advice)
    if level in ("users", "userns"):
        return Finding("isolation", "ok", found)
    return Finding(
        "isolation",
        "warning",
        found,
        f"Deploy only code that you trust. Stronger levels are not available: {reasons}.",
    )


def _limits() -> Finding:
    """Tries the limits in a temporary cgroup."""
    from workers.cgroups import open_tree

    with tempfile.TemporaryDirectory() as folder:
        tree = open_tree(f"doctor-{os.getpid()}", Path(folder, "record"), 0, 1)
        tree.close()
    weaker = {
        "memory": "memory is checked once a second",
        "cpu": "CPU is not limited",
        "pids": "processes are counted once a second",
        "kill": "a process that leaves its process group is found by its environment",
    }
    missing = [text for name, text in weaker.items() if name not in tree.enforced]
    if not missing:
        return Finding("limits", "ok", f"cgroups {tree.version} limit CPU, memory and processes")
    held = (
        f"cgroups {tree.version} limit {', '.join(tree.enforced)}"
        if tree.enforced
        else "no usable cgroups"
    )
    return Finding(
        "limits",
        "warning",
        f"{held}; {', '.join(missing)}",
        "Start the gateway as a service with `Delegate=yes`, or by `systemd-run --user --scope "
        "-p Delegate=yes predictd serve`, so that it has its own cgroup.",
    )


def _gpus() -> Iterable[Finding]:
    """What the driver says; nothing on a machine without one."""
    from workers.gpus import NO_DRIVER, NvmlDriver

    driver = NvmlDriver()
    survey = driver.survey()
    driver.close()
    if survey.problem == NO_DRIVER:
        return
    if not survey.gpus:
        advice = "Mend the driver, or install predictd[gpu]. Models without GPUs are not affected."
        yield Finding("GPUs", "warning", survey.problem, advice)
        return
    usable = [each for each in survey.gpus if not each.problem]
    found = f"driver {survey.driver}; {len(usable)} of {len(survey.gpus)} can be assigned"
    found += "".join(f"; {each.name} ({each.node or each.uuid})" for each in usable)
    wrong = [f"{each.uuid or each.name}: {each.problem}" for each in survey.gpus if each.problem]
    if not any(node.endswith("/nvidia-uvm") for node in survey.nodes):
        wrong.append("/dev/nvidia-uvm is missing, so no model can use CUDA")
    advice = "Run `nvidia-smi` to see the state of the GPUs, and `nvidia-modprobe -u -c=0` at boot."
    text = "; ".join([found, *wrong])
    yield Finding("GPUs", "warning", text, advice) if wrong else Finding("GPUs", "ok", found)


def _data_folder(data: Path) -> Finding:
    nearest = _nearest(data)
    if not nearest.is_dir():
        advice = "Name a folder with --data or PREDICTD_DATA."
        return Finding("data folder", "missing", f"{nearest} is not a folder", advice)
    if not os.access(nearest, os.W_OK | os.X_OK):
        advice = f"Make {nearest} writable, or name another folder with --data or PREDICTD_DATA."
        return Finding("data folder", "missing", f"{data} cannot be written", advice)
    return Finding(
        "data folder", "ok", f"{data}{'' if nearest == data else ' (created at the first start)'}"
    )


def _set_aside(data: Path) -> Finding:
    """The problems of the last start."""
    from gateway.data_folder import DataFolder
    from gateway.set_aside import read_record

    problems = read_record(DataFolder(data))
    if not problems:
        return Finding("set aside", "ok", "the last start had no problems")
    found = "; ".join(f"{each.what} ({each.path}): {each.problem}" for each in problems)
    advice = dict.fromkeys(f"{each.what}: {each.advice}" for each in problems)
    return Finding("set aside", "warning", found, " ".join(advice))


def _disk(data: Path) -> Finding:
    free = shutil.disk_usage(_nearest(data)).free
    found = f"{free / GIB:.1f} GiB free at {data}"
    advice = (
        "A build with scientific packages takes 0.5 to 2 GiB: free some space, "
        "or use another --data."
    )
    if free < MIN_DISK:
        return Finding("disk", "missing", found, advice)
    if free < LOW_DISK:
        return Finding("disk", "warning", found, advice)
    return Finding("disk", "ok", found)


def _gateway_disk(machine: DoctorInput) -> Iterable[Finding]:
    """The bounds of the running gateway, and what it could remove."""
    disk = machine.gateway_disk
    if disk is None or machine.removable is None:
        return
    number, size = machine.removable
    found = (
        f"{disk['free_bytes'] / GIB:.1f} GiB free; gc would remove {number} ({size / GIB:.1f} GiB)"
    )
    if disk["level"] == "ok":
        yield Finding("free space", "ok", found)
        return
    limit = "min_free_disk" if disk["level"] == "full" else "warn_free_disk"
    below = disk["reserve"] if disk["level"] == "full" else disk["warn_below"]
    yield Finding(
        "free space",
        "missing" if disk["level"] == "full" else "warning",
        f"{found}; {limit} is {below / GIB:.1f} GiB",
        "Run `predictd gc`, lower keep_builds, or make the disk larger. Below min_free_disk "
        "builds, deployments, projects and uploads are refused.",
    )


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on this port now."""
    from gateway.http.listen_sockets import listen_on_both

    try:
        listeners = listen_on_both(host, port)
    except OSError:
        return False
    for each in listeners:
        each.close()
    return True


def _port(machine: DoctorInput) -> Finding:
    if machine.port == machine.gateway_port:
        return Finding("port", "ok", f"{machine.port} is in use by the gateway of this data folder")
    if is_free(machine.host, machine.port):
        return Finding("port", "ok", f"{machine.port} is free")
    advice = "Choose another port with `predictd serve --port`."
    return Finding("port", "missing", f"{machine.host}:{machine.port} is in use", advice)


def _gateway(machine: DoctorInput) -> list[Finding]:
    """The gateway that runs on the data folder, if one does."""
    if machine.gateway_port is None:
        return []
    found = f"process {machine.gateway_pid} serves {machine.data} on port {machine.gateway_port}"
    return [Finding("gateway", "ok", found)]


def _certificate(machine: DoctorInput, now: datetime) -> list[Finding]:
    """When the certificate of the running gateway expires; nothing without TLS."""
    if not machine.certificate:
        return []
    from cryptography.x509 import load_pem_x509_certificate

    expires = load_pem_x509_certificate(machine.certificate.encode()).not_valid_after_utc
    days = (expires - now).days
    text = f"expires on {expires:%Y-%m-%d}, in {days} days"
    advice = "Renew it, then send SIGHUP to the gateway, which reads it again."
    if days < 0:
        return [Finding("certificate", "missing", f"expired on {expires:%Y-%m-%d}", advice)]
    if days < FEW_DAYS:
        return [Finding("certificate", "warning", text, advice)]
    return [Finding("certificate", "ok", text)]


def _open_files(machine: DoctorInput) -> Finding:
    """The limit of the running gateway, or of one that is started here."""
    from workers.allowance import Allowance
    from workers.kernel_limits import Bound, descriptors, hard_descriptors

    bound = descriptors(machine.gateway_pid)
    most = bound.most if machine.gateway_pid else hard_descriptors()
    if not most:
        return Finding("open files", "ok", "no limit")
    used = f"{bound.used} of {most}" if machine.gateway_pid else f"limit {most}"
    allowance = Allowance(
        Bound(most=most, used=0, source=bound.source, remedy=bound.remedy),
        Bound(most=0, used=0, source="", remedy=""),
    )
    found = f"{used}: {allowance.connections} connections, {allowance.trees} replicas and scripts"
    if most >= FEW_FILES:
        return Finding("open files", "ok", found)
    return Finding(
        "open files", "warning", found, f"Many clients need more open files: {bound.remedy}."
    )


def _tasks(machine: DoctorInput) -> Finding:
    from workers.kernel_limits import tasks

    bound = tasks(machine.gateway_pid)
    if bound.free >= FEW_TASKS:
        return Finding("tasks", "ok", str(bound))
    advice = f"Builds, and models with many threads, need more tasks: {bound.remedy}."
    return Finding("tasks", "warning", str(bound), advice)


def _memory(machine: DoctorInput) -> Finding:
    """The limit of the cgroup; without one, the machine's memory."""
    from workers.kernel_limits import memory
    from workers.sizes import human_size

    bound = memory(machine.gateway_pid)
    if not bound.most:
        return Finding("memory", "ok", "no limit below the machine's memory")
    found = f"{human_size(bound.used)} of {human_size(bound.most)}, limited by {bound.source}"
    if bound.free >= LOW_MEMORY:
        return Finding("memory", "ok", found)
    return Finding("memory", "warning", found, f"Models need more memory: {bound.remedy}.")


def _packages(environment: Mapping[str, str]) -> Finding:
    """Builds do not see the user's own pip settings, which surprises behind a proxy."""
    seen = sorted(name for name in environment if PIP_VARIABLES.fullmatch(name))
    home = Path(environment.get("HOME", "/nonexistent"))
    files = (home / ".pip/pip.conf", home / ".config/pip/pip.conf")
    seen += [str(file) for file in files if file.exists()]
    if not seen:
        return Finding("packages", "ok", "pip's own settings")
    advice = (
        "Builds do not see them: set what builds need with `predictd env set NAME`, for the site "
        "with `--site`."
    )
    return Finding("packages", "warning", f"set in your environment: {', '.join(seen)}", advice)


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""

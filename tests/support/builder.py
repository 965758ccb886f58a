"""What the builder is given by others, small and real, and a bench to work on."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from os import killpg
from pathlib import Path
from typing import Any

import trio

from builder.build import BuildReport, build
from builder.build_steps import BuildSteps
from builder.build_store import BuildStore
from builder.environment.seeds import Seeds
from builder.interpreters import Interpreter
from builder.reuse.environment_store import EnvironmentStore
from builder.snapshot.snapshot import take_snapshot
from builder.spec import BuildSpec, Log, Probe, Probed, Run, SandboxPaths, Snapshot, SnapshotLimits
from tests.support.seeds import SEEDS


class Lines:
    """A log in memory."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line)

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.lines)


async def run(
    command: list[str],
    *,
    cwd: Path,
    paths: SandboxPaths | None = None,
    variables: dict[str, str],
    log: Log,
    time_limit: float,
) -> int:
    """A `builder.spec.Run` whose process tree is a session of its own."""
    if paths is not None:
        variables = {"HOME": str(paths.home), "TMPDIR": str(paths.tmp), **variables}
    with trio.move_on_after(time_limit):
        return await _run(command, cwd, variables, log)
    raise TimeoutError


async def _run(command: list[str], cwd: Path, environment: Mapping[str, str], log: Log) -> int:
    process = await trio.lowlevel.open_process(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        left = b""
        async for chunk in process.stdout:
            *lines, left = (left + chunk).split(b"\n")
            for line in lines:
                log.write(line.decode())
        if left:
            log.write(left.decode())
        return await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                killpg(process.pid, signal.SIGKILL)
            await process.wait()
            await process.stdout.aclose()


async def content(spec: BuildSpec, interpreter: Interpreter) -> Probed:
    """A probe that likes every build."""
    return Probed()


class Bench:
    """A project, a store and a shelf in one folder, with all that was said while building."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.project.mkdir()
        self.store = folder / "store.git"
        self.environments = EnvironmentStore(folder / "environments")
        self.shelf = BuildStore(folder / "builds", self.environments)
        self.pip_cache = folder / "cache"
        self.file_store = folder / "files"
        self.seeds = Seeds(SEEDS, run)
        self.log = Lines()
        self.steps: list[BuildSteps] = []

    def write(self, name: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    async def take(
        self, name: str = "one", readable: Sequence[Path] = (), **limits: Any
    ) -> Snapshot:
        return await take_snapshot(
            *(self.project, self.store, name, self.log),
            run=run,
            readable=readable,
            limits=SnapshotLimits(**limits),
        )

    async def spec(self, name: str = "one", **changes: Any) -> BuildSpec:
        facts = {
            "project": "project",
            "snapshot": await self.take(name),
            "folder": self.shelf.folder(name),
            "environment": self.environments.folder(name),
            "home": self.shelf.folder(name) / "code",
            "interpreter": Path(sys.executable),
            "file": "model.py",
            "function": "predict",
            "time_limit": 60.0,
            "pip_cache": self.pip_cache,
            "file_store": self.file_store,
        }
        facts["variables_id"] = str(changes.get("variables"))
        return BuildSpec(**{**facts, **changes})

    async def build(self, name: str = "one", probe: Probe = content, **changes: Any) -> BuildReport:
        return await self.make(await self.spec(name, **changes), run, probe)

    async def make(self, spec: BuildSpec, run: Run, probe: Probe) -> BuildReport:
        return await build(
            spec,
            self.environments,
            run=run,
            seeds=self.seeds,
            probe=probe,
            log=self.log,
            changed=self.steps.append,
        )

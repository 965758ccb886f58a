"""The script of an experiment, run to its end in a working copy of its own.

The copy is removed when this returns, and every process of the script is dead. What it wrote into
its kept folders stays, as plain files and folders of ours, so that a link cannot lead a later
reader elsewhere. New and changed files of its copy are moved there, within bounds
(`written_files.py`), however the script ended.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import trio

from workers import untrusted_tree
from workers.confinement import HOME, SandboxView
from workers.process import workspace
from workers.process.command import Ended, LineLog, run_command
from workers.process.environment import environment_of
from workers.process.languages import INSIDE, commands_of
from workers.process.tree import ProcessTree
from workers.process.written_files import keep_written
from workers.shortages import in_thread, is_shortage
from workers.spec import ExperimentSpec


async def run_experiment(tree: ProcessTree, spec: ExperimentSpec, log: LineLog) -> Ended:
    """How the script ended; what it prints goes to `log`. `tree` is a new one.

    It has no time limit: a caller can cancel it. Raises OSError where it cannot be started. On
    return, error or cancellation its whole tree is dead and only what is kept is left.
    """
    work = _work(spec.folder)
    command = commands_of(spec.language).run(spec)
    try:
        await tree.acquire_gpus()
        with trio.CancelScope(shield=True):  # half a copy is of no use
            await in_thread(_make, spec)
        return await run_command(
            tree,
            command.words,
            cwd=work / "code",
            variables={**environment_of(spec), **command.variables},
            view=SandboxView(
                home=work / "code",
                tmp=work / "tmp",
                read=(spec.environment, INSIDE),
                prefix=spec.prefix,
                built=spec.built,
                write=spec.kept,
                network=spec.network,
                identity=spec.identity,
            ),
            log=log,
        )
    finally:
        await tree.surely(_end, spec, log)


def clear_run(folder: Path, kept: Iterable[Path]) -> dict[Path, OSError]:
    """Leaves of a run's `folder` what is kept; also of a run whose gateway was killed. Returns what
    is left and cannot be read safely, or cannot be removed, with the reason. Blocking. Raises
    OSError in a shortage."""
    left = _make_plain(kept)
    work = _work(folder)
    untrusted_tree.remove(work)
    if os.path.lexists(work):
        left[work] = OSError("it cannot be removed")
    return left


def _make_plain(kept: Iterable[Path]) -> dict[Path, OSError]:
    left: dict[Path, OSError] = {}
    for each in kept:
        try:
            if os.path.lexists(each):
                untrusted_tree.make_plain(each)
        except OSError as error:
            if is_shortage(error):
                raise
            left[each] = error
    return left


def _end(spec: ExperimentSpec, log: LineLog) -> None:
    _keep_written(spec, log)
    for each, error in clear_run(spec.folder, spec.kept).items():
        untrusted_tree.remove(each)  # what cannot be read safely is not kept
        if each in spec.kept:
            log.write(f"[predictd] what is in {each.name} is not kept: {error.strerror or error}")


def _keep_written(spec: ExperimentSpec, log: LineLog) -> None:
    copy = _work(spec.folder) / "code"
    if spec.keep is None or not copy.is_dir() or _make_plain([spec.keep.folder]):
        return
    try:
        for line in keep_written(spec.code, copy, spec.keep):
            log.write(line)
    except OSError as error:
        log.write(f"[predictd] new and changed files are not kept: {error.strerror or error}")


def _work(folder: Path) -> Path:
    return folder / "work"


def _make(spec: ExperimentSpec) -> None:
    """The working copy. Raises OSError."""
    for each in spec.kept:
        each.mkdir(parents=True, exist_ok=True)
    workspace.make(spec.code, _work(spec.folder), spec.built or HOME)

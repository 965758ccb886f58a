"""Every kind of file of a real data folder is damaged in turn: a start serves without it.

A data folder is made once: a project with a model that serves and an experiment that ran when its
gateway was killed, another project beside it, logs, leftovers. For each way to damage a file, one
file of each kind is damaged in a copy of it, all at once, and a gateway started on that. The table
says for each kind what has to be named; a file of no kind in it fails the test.
"""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

import store
from gateway.composition import open_control
from gateway.control import Control
from gateway.control.variables import GatewayUrls
from gateway.data_folder import DataFolder
from gateway.operations.doctor import DoctorInput, examine
from gateway.set_aside import Problem, read_record
from gateway.settings import LoadedSettings
from tests.faults.matrix import fault
from tests.gateway.control.experiments.test_experiments import FIT, ended, run
from tests.gateway.control.storage.test_orphan_files import GONE
from tests.support.folders import NewFolder
from tests.support.gateway import PATIENCE, copy_of, discovered, running, settings_for
from tests.support.skipping import not_here
from workers import Answered

METRICS = b'{"key": "loss", "value": 0.5, "time": 1}\n'
GARBAGE = b"\xff\x00{[" * 50 + b"\n"


def replaced_by(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def immutable(path: Path) -> None:
    done = subprocess.run(["chattr", "+i", path], capture_output=True, check=False)
    if done.returncode:
        not_here("no immutable files on this file system")


# How a file is damaged.
DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: os.truncate(path, 0),
    "truncated": lambda path: os.truncate(path, max(0, path.stat().st_size - 7)),
    "garbage": lambda path: path.write_bytes(GARBAGE),
    "a folder": replaced_by(Path.mkdir),
    "a pipe": replaced_by(os.mkfifo),
    "a link to nowhere": replaced_by(lambda path: path.symlink_to("nowhere")),
    "a link to itself": replaced_by(lambda path: path.symlink_to(path.name)),
    # Opening it works, reading it is an input/output error.
    "a failing device": replaced_by(lambda path: path.symlink_to("/proc/self/mem")),
    "immutable": immutable,
}
CONTENT = frozenset({"empty", "truncated", "garbage"})
ANY, STUCK = frozenset(DAMAGES), frozenset({"immutable"})
TYPE = ANY - CONTENT - STUCK  # it is no regular file any more


class Kind(NamedTuple):
    """The files of a pattern, and the damages that have to be named."""

    pattern: str
    named: frozenset[str] = frozenset()


KINDS = [
    # Of the project.
    Kind("builds/BUILD/sealed", ANY - STUCK),
    Kind("builds/*/code/*"),
    Kind("environments/*/environment/*"),
    Kind("environments/*/compiled"),
    Kind("environments/*/inputs"),
    Kind("environments/*/pylock.toml"),
    Kind("environments/*/sealed", ANY - STUCK),
    Kind("files/*"),
    Kind("experiments/*/outputs/*", STUCK),
    Kind("experiments/*/tracked/metrics.jsonl", TYPE | STUCK | {"garbage"}),
    Kind("experiments/*/work/*", STUCK),
    Kind("logs/builds/*.log"),
    Kind("logs/experiments/*.log"),
    Kind("logs/models/*/*.log"),
    Kind("projects/*"),
    Kind("cache/pip/*"),
    *(
        Kind(f"snapshots/*.git/{name}")
        for name in ("HEAD", "config", "predictd.lock", "objects/*", "refs/*")
    ),
    # Leftovers, which are removed.
    Kind(f"builds/{GONE}/*", STUCK),
    Kind(f"experiments/{GONE}/*", STUCK),
    Kind(f"logs/*/{GONE}*", STUCK),
    Kind(f"projects/{GONE}", STUCK),
    # Of the site.
    Kind("isolation", frozenset({"a folder"})),
    Kind("gateway.json", TYPE | STUCK),
    Kind("generation", TYPE | STUCK),
    Kind("trash/*"),
    Kind("replicas.cgroups", TYPE | STUCK),
    Kind("replicas.gpus", TYPE | STUCK),
    Kind("set-aside.json", TYPE | STUCK),
    Kind("set-aside/*", ANY),
    Kind("replicas/*", STUCK),
    Kind("confinement/*", STUCK),
    Kind("spool/*", STUCK),
    Kind("ballast/*"),
    Kind("start-room/*"),
    Kind("logs/examiner/*.log"),
]
# Without these nothing is right: a start with a damaged one may be refused, in words.
NEEDED = {"predictd.db", "secret.key", "admin.key", "lock"}


class Prepared(NamedTuple):
    """A data folder; the ids of what is damaged in it; the model that must go on."""

    folder: Path
    build: str
    model: str  # the other's
    others: frozenset[str]  # ids

    def kind_of(self, path: Path) -> Kind | None:
        """The most special one."""
        name = str(path.relative_to(self.folder))
        found = [k for k in KINDS if fnmatch(name, k.pattern.replace("BUILD", self.build))]
        return max(found, key=lambda kind: len(kind.pattern.replace("*", "")), default=None)

    def victims(self) -> dict[Kind, Path]:
        """A file of each kind, by its path in the folder."""
        found: dict[Kind, Path] = {}
        for path in files_in(self.folder):
            name = path.relative_to(self.folder)
            if str(name) in NEEDED or any(each in str(name) for each in self.others):
                continue
            kind = self.kind_of(path)
            assert kind is not None, f"{name}: say in KINDS what a start does without it"
            found.setdefault(kind, name)
        return found


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.fixture(scope="module")
def prepared(new_folder: NewFolder) -> Prepared:
    folder = new_folder("damage")
    data = folder / "data"
    victim, other, experiment = trio.run(_prepare, folder)
    # As if the gateway had been killed while the script ran.
    with sqlite3.connect(data / "predictd.db") as connection:
        connection.execute("UPDATE experiments SET status = 'running', ended_at = NULL")
        connection.execute("DELETE FROM points")
        connection.execute("INSERT INTO deleted (id) VALUES (?)", (GONE,))
    connection.close()
    left = {
        f"experiments/{experiment}/tracked/metrics.jsonl": METRICS,
        f"experiments/{experiment}/work/code/fit.py": b"x = 1\n",
        **dict.fromkeys((f"builds/{GONE}/x", f"experiments/{GONE}/x", f"projects/{GONE}"), b"x"),
        **dict.fromkeys(
            (f"logs/builds/{GONE}.log", "logs/examiner/e.log", f"cache/pip/{victim[0]}/x"), b"x"
        ),
        **dict.fromkeys(("replicas/a-1/x", "confinement/x", "spool/x", "gateway.json"), b"{}"),
        "set-aside/seal": b"{",
        "trash/1/x": b"x",
        "set-aside.json": b"[]",
        "replicas.gpus": b"{}",
    }
    for name, content in left.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(content)
    for path in (
        *(data / "ballast").glob("1*"),
        *data.glob("environments/*/environment/lib/*/*/*"),
    ):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    others = [
        path.parent.name
        for path in data.glob("environments/*/sealed")
        if json.loads(path.read_bytes())["project"] == other[0]
    ]
    return Prepared(data, victim[-1], other[1], frozenset([*other, *others]))


async def _prepare(folder: Path) -> tuple[list[str], list[str], str]:
    """The ids of two projects with their models and builds, and of the first one's experiment."""
    async with running(settings_for(folder / "data")) as gateway:
        made = []
        for name in ("victim", "other"):
            source = copy_of("add", folder).rename(folder / name)
            (source / "fit.py").write_text(FIT)
            project = await gateway.project(source)
            model = await gateway.model(project)
            build = await gateway.built(model, "add.py:add")
            await gateway.deployed(build, replicas=1)
            made.append(build.split("/")[2::2])
        experiment = await run(gateway, f"/projects/{made[0][0]}", "fit.py")
        await ended(gateway, experiment)
        await gateway.post("/projects", {"name": "own", "template": "python"})
        return made[0], made[1], experiment.rpartition("/")[2]


@pytest.fixture
def copied(prepared: Prepared, tmp_path: Path) -> Iterator[Prepared]:
    shutil.copytree(prepared.folder, tmp_path / "data", symlinks=True)
    yield prepared._replace(folder=tmp_path / "data")
    subprocess.run(["chattr", "-R", "-f", "-i", tmp_path], capture_output=True, check=False)


@asynccontextmanager
async def started(prepared: Prepared) -> AsyncIterator[Control]:
    """A gateway on it, recovered; without HTTP."""
    data, urls = DataFolder(prepared.folder), GatewayUrls("http://localhost", "http://localhost")
    given = LoadedSettings(settings_for(data.root), {})
    with store.lock_data_folder(data.root):
        async with open_control(given, data, urls, None, discover=discovered) as (control, _):
            yield control


async def serves(control: Control, model: str) -> bool:
    """Whether a model answers."""
    with trio.fail_after(PATIENCE):
        pool = control.endpoints.pool_of(model)
        assert pool is not None
        await pool.wait_ready()
        return isinstance(await pool.predict(b'{"a": 1, "b": 2}', "caller"), Answered)


def test_every_file_is_of_a_kind(prepared: Prepared) -> None:
    """A new kind of file is entered in the table, and each entry is tried."""
    assert set(prepared.victims()) == set(KINDS)


@fault(
    "every kind of file of a data folder is damaged",
    injection="empty, cut, garbage, a folder, a pipe, links, a failing device, immutable",
    bound="the gateway starts and others' models answer; each is named, and nothing is deleted",
)
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_file_of_each_kind(copied: Prepared, damage: str) -> None:
    """The gateway starts, another project's model answers, and what is damaged is named, with what
    to do, by the gateway and by doctor. Nothing of a project's is gone."""
    before = {path.relative_to(copied.folder) for path in files_in(copied.folder)}
    for name in (victims := copied.victims()).values():
        if os.path.lexists(copied.folder / name):
            DAMAGES[damage](copied.folder / name)
    async with started(copied) as control:
        assert await serves(control, copied.model)
        problems = control.set_aside.problems
        paths = [path for kind, path in victims.items() if damage in kind.named]
        assert [path for path in paths if not is_told(problems, copied.folder, path)] == []
        assert [each for each in problems if not is_about(each, copied.folder, paths)] == []
        assert all(each.problem and each.advice for each in problems)
        [experiment] = await control.records.experiments()
        assert experiment.status == "failed"
    ours = {path for path in before if is_ours(path)}
    if damage in TYPE - {"a folder"}:
        # Of what a script keeps only files and folders stay.
        ours |= {path for path in victims.values() if {"outputs", "tracked"} & {*path.parts}}
    assert [path for path in before - ours if not kept(copied.folder, path)] == []
    if damage != "immutable":  # the record is, too
        assert read_record(DataFolder(copied.folder)) == problems
        found = examine(DoctorInput(copied.folder, "127.0.0.1", 1, {}), interpreters=list)
        [finding] = [each for each in found if each.name == "set aside"]
        assert finding.state == "warning"
        assert all(f"{each.path}): {each.problem}" in finding.found for each in problems)
        assert all(each.advice in finding.advice for each in problems)


def places_of(folder: Path, path: Path) -> list[Path]:
    """Where something may be: its own place, or in `set-aside`, with the folders above it or some
    of them."""
    parts = path.parts
    moved = [
        folder / "set-aside" / Path("-".join(parts[:n]), *parts[n:])
        for n in range(1, len(parts) + 1)
    ]
    return [folder / path, *moved]


def is_told(problems: list[Problem], folder: Path, path: Path) -> bool:
    return any(is_about(each, folder, [path]) for each in problems)


def is_about(problem: Problem, folder: Path, paths: list[Path]) -> bool:
    """Whether a problem is about one of these files, or about a folder that it is in."""
    places = [place for path in paths for place in places_of(folder, path)]
    return any(Path(problem.path) in (place, *place.parents) for place in places)


def is_ours(path: Path) -> bool:
    """Whether a start may remove it: what it makes again, and what was deleted."""
    made = {"replicas", "confinement", "spool", "ballast", "start-room", "work"}
    return len(path.parts) == 1 or bool({*made, GONE, f"{GONE}.log"} & {*path.parts})


def kept(folder: Path, path: Path) -> bool:
    return any(os.path.lexists(place) for place in places_of(folder, path))


def bare(name: str) -> str:
    return name.removesuffix(".git")


FOLDERS = ["empty", "a pipe", "a link to nowhere", "a link to itself"]


def stands_for(folder: Path, how: str) -> None:
    """Something else in the place of a folder."""
    shutil.rmtree(folder)
    Path.touch(folder)
    DAMAGES[how](folder)


@pytest.mark.parametrize("how", FOLDERS)
async def test_the_folders_of_a_project(copied: Prepared, how: str) -> None:
    """Something else in the place of each folder of a project: the other's model answers."""
    names = {bare(name) for path in copied.victims().values() for name in path.parts}
    ids = {name for name in names if len(name) == len(GONE)}
    for path in sorted(copied.folder.glob("*/*")) + sorted(copied.folder.glob("*/*/*")):
        if path.is_dir() and bare(path.name) in ids:
            stands_for(path, how)
    async with started(copied) as control:
        assert await serves(control, copied.model)
        problems = control.set_aside.problems
        assert is_told(problems, copied.folder, Path("builds", copied.build))


@fault(
    "something else in the place of each folder",
    injection="a file, a pipe, links",
    bound="it is moved to `set-aside`, and the gateway starts",
)
@pytest.mark.parametrize("how", FOLDERS)
async def test_the_folders_of_the_site(copied: Prepared, how: str) -> None:
    """Something else in the place of each folder of the data folder: it is moved away, and the
    gateway starts."""
    data = DataFolder(copied.folder)
    data.seeds.unlink()  # a link to the seeds of all tests
    for path in (each for each in data.root.iterdir() if each.is_dir()):
        stands_for(path, how)
    async with started(copied) as control:
        told = {Path(each.path).name for each in control.set_aside.problems if each.moved}
        assert told >= {"builds", "projects", "snapshots", "experiments", "logs", "cache"}
        assert {path.name for path in data.set_aside.iterdir()} == told

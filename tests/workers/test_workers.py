"""The workers with real processes: for anything a model does, its caller gets the documented
outcome, the next request is served, the model beside it never notices, and nothing is left."""

import os
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import trio
import trio.testing

from tests.faults.matrix import fault
from tests.support.r import r_prefix
from workers import (
    Answered,
    Died,
    Log,
    NotReady,
    Pool,
    PoolSpec,
    ProbeRaised,
    Raised,
    Refused,
    ReplicaSpec,
    StartFailed,
    TimedOut,
    Workers,
    open_workers,
)
from workers.confinement import Launch, ProjectCommand
from workers.limits import Limits
from workers.process import workspace
from workers.process.process import kill_tree, marked, spawn
from workers.spec import Language

PROJECTS = Path(__file__).parents[1] / "projects"
PATIENCE = 20.0


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a replica needs of a virtualenv: bin/python."""
    folder: Path = tmp_path_factory.mktemp("environment")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    return folder


class Harness:
    """Open workers, and the specs of the sample projects."""

    def __init__(self, workers: Workers, base: Path, environment: Path) -> None:
        self.workers = workers
        self._base = base
        self._environment = environment

    def spec(
        self, project: str, function: str, variables: dict[str, str] | None = None, **settings: Any
    ) -> PoolSpec:
        language: Language = settings.pop("language", "python")
        replica = ReplicaSpec(
            code=PROJECTS / project,
            environment=self._environment,
            prefix=r_prefix() if language == "r" else None,
            language=language,
            file=f"{project}.{'R' if language == 'r' else 'py'}",
            function=function,
            variables=variables or {},
            name_variables=("ENGINE",),
            start_timeout=settings.pop("start_timeout", PATIENCE),
        )
        return PoolSpec(
            name=project, replica=replica, log_folder=self._base / "logs" / project, **settings
        )

    async def serve(self, project: str, function: str, **settings: Any) -> Pool:
        pool = self.workers.open_pool(self.spec(project, function, **settings))
        with trio.fail_after(PATIENCE):
            await pool.wait_ready()
        return pool


def our_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@asynccontextmanager
async def open_harness(base: Path, environment: Path, **how: Any) -> AsyncIterator[Harness]:
    """Workers opened with `how`, of which no process or working copy may be left."""
    name = f"test-{os.getpid()}-{base.name}"
    try:
        async with open_workers(base / "replicas", name, **how) as workers:
            yield Harness(workers, base, environment)
    finally:
        left = marked(f"{name}/")
        kill_tree(f"{name}/")
    assert left == []
    assert list((base / "replicas").iterdir()) == []


@pytest.fixture
async def harness(tmp_path: Path, environment: Path) -> AsyncIterator[Harness]:
    """Workers of which neither process, descriptor nor working copy may be left at the end."""
    before = our_descriptors()
    async with open_harness(tmp_path, environment) as harness:
        yield harness
    assert our_descriptors() <= before


def say(value: object) -> bytes:
    return msgspec.json.encode(value)


async def ask(pool: Pool, value: object) -> object:
    """What the model answers, or the outcome that is no answer."""
    with trio.fail_after(PATIENCE):
        outcome = await pool.predict(say(value))
    pool.verify()
    return msgspec.json.decode(outcome.body) if isinstance(outcome, Answered) else outcome


DEEDS: dict[str, tuple[dict[str, Any], Callable[[Any], bool]]] = {
    "raise": ({}, lambda o: isinstance(o, Raised) and o.type == "ValueError"),
    "invalid": ({}, lambda o: isinstance(o, Refused) and o.message == "as told"),
    "exit": ({}, lambda o: isinstance(o, Died) and "status 3" in o.reason),
    "os_exit": ({}, lambda o: isinstance(o, Died) and "status 4" in o.reason),
    "segfault": ({}, lambda o: isinstance(o, Died) and "SIGSEGV" in o.reason),
    "stop": ({}, lambda o: isinstance(o, TimedOut)),
    "hang": ({}, lambda o: isinstance(o, TimedOut)),
    "hang_in_c": ({}, lambda o: isinstance(o, TimedOut)),
    "flood": ({"kilobytes": 3000}, lambda o: o == "flooded"),
    "junk": ({}, lambda o: isinstance(o, Died) and "protocol" in o.reason),
    "unencodable": ({}, lambda o: isinstance(o, Raised) and "$.not[0]" in o.message),
    "nan": ({}, lambda o: o == [None, None, 1.5]),
    "big": ({"bytes": 6_000_000}, lambda o: o == "x" * 6_000_000),
    "memory": ({"bytes": 50_000_000}, lambda o: o == 50_000_000),
    "sleep": ({"seconds": 0.01}, lambda o: o == 0.01),
    "echo": ({"text": "\u20ac"}, lambda o: o == {"do": "echo", "text": "\u20ac"}),
    "fork": ({}, lambda o: isinstance(o, int)),
    "stdout": ({"text": "no end"}, lambda o: o is None),
    "stderr": ({"text": "no end"}, lambda o: o is None),
}


# In which R has another outcome.
OF_R: dict[str, Callable[[Any], bool]] = {
    "unencodable": lambda o: isinstance(o, Raised) and "result$not[[1]]" in o.message,
}


def test_every_deed_of_the_sample_project_has_an_outcome() -> None:
    """The table has an outcome for every deed of the sample project, in each language."""
    source = (PROJECTS / "badly" / "badly.py").read_text()
    named = set(re.findall(r'^    "(\w+)": ', source, re.MULTILINE))
    assert named == DEEDS.keys()
    source = (PROJECTS / "badly" / "badly.R").read_text()
    assert set(re.findall(r"^    (\w+) = function", source, re.MULTILINE)) == DEEDS.keys()


@pytest.mark.parametrize("language", ["python", "r"])
@pytest.mark.parametrize("deed", DEEDS)
async def test_misbehaving_model_gets_its_outcome_and_harms_no_other(
    harness: Harness, deed: str, language: Language
) -> None:
    """Each deed has the documented outcome and then a right answer, while another model answers
    throughout."""
    arguments, is_documented = DEEDS[deed]
    if language == "r":
        is_documented = OF_R.get(deed, is_documented)
    neighbour = await harness.serve("add", "add")
    badly = await harness.serve("badly", "behave", request_timeout=1.0, language=language)
    done = trio.Event()
    answered = 0

    async def keep_asking() -> None:
        nonlocal answered
        while not done.is_set():
            assert await ask(neighbour, {"a": answered, "b": 1}) == answered + 1
            answered += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_asking)
        outcome = await ask(badly, {"do": deed, **arguments})
        assert is_documented(outcome), outcome
        with trio.fail_after(PATIENCE):
            while not badly.ready:  # noqa: ASYNC110 - a start may take longer than a request may wait
                await trio.sleep(0.005)
        assert await ask(badly, {"do": "echo"}) == {"do": "echo"}
        done.set()
    assert answered > 0
    [slot] = neighbour.statistics().slots
    assert (slot.failure, slot.error, slot.restart) == (0, 0, 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (r"\ud83d", r"\ud83d"),
        (r"\u0000\u001b[2J", "\0\x1b[2J"),
        ("x" * 100_000, "x" * 8000 + "... (100000 characters)"),
        ("\U0001f600" * 10_000, "\U0001f600" * 8000 + "... (10000 characters)"),
    ],
)
async def test_exception_text_reaches_its_caller(harness: Harness, text: str, told: str) -> None:
    """Any text of an exception reaches its caller, and the replica still serves."""
    badly = await harness.serve("badly", "behave")
    with trio.fail_after(PATIENCE):
        outcome = await badly.predict(f'{{"do":"raise","text":"{text}"}}'.encode())
    assert isinstance(outcome, Raised)
    assert (outcome.type, outcome.message) == ("ValueError", told)
    assert outcome.request_id
    [slot] = badly.statistics().slots
    assert (slot.failure, slot.error) == (1, 0)


async def test_two_replicas_serve_at_once(harness: Harness) -> None:
    """Two replicas are two processes, and no replica gets two requests at a time."""
    pool = await harness.serve("badly", "behave", replicas=2)
    outcomes = []

    async def predict() -> None:
        outcomes.append(await pool.predict(say({"do": "sleep", "seconds": 0.2})))

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(predict)
    assert len({o.replica for o in outcomes if isinstance(o, Answered)}) == 2
    pids = [slot.pid for slot in pool.statistics().slots]
    assert len(set(pids)) == 2
    assert all(slot.status == "idle" for slot in pool.statistics().slots)


async def test_replica_sees_only_its_environment(harness: Harness) -> None:
    """Variables, home, current directory and path are the replica's own; nothing of ours leaks."""
    pool = await harness.serve("environment", "report", variables={"COLOUR": "blue"})
    report: Any = await ask(pool, {})
    assert report["environment"]["COLOUR"] == "blue"
    assert report["environment"]["HOME"] == report["cwd"] == report["sys_path"][0]
    assert report["cwd"] != str(PROJECTS / "environment")
    given = {"PATH", "VIRTUAL_ENV", "HOME", "TMPDIR", "LANG", "PYTHONDONTWRITEBYTECODE"}
    ours = {"ENGINE", "PREDICTD_TREE", "SPARK_SUBMIT_OPTS", "LC_CTYPE"}
    # For the R that a function of Python may start.
    ours |= {"R_LIBS_USER", "RENV_CONFIG_AUTOLOADER_ENABLED"}
    assert set(report["environment"]) - given - {"COLOUR"} <= ours
    [slot] = pool.statistics().slots
    assert report["environment"]["ENGINE"] == slot.name


async def test_path_of_the_model_follows_the_environments(
    harness: Harness, environment: Path
) -> None:
    """A PATH among the variables does not hide the programs of the environment."""
    pool = await harness.serve("environment", "report", variables={"PATH": "/opt/own:/bin"})
    report: Any = await ask(pool, {})
    assert report["environment"]["PATH"] == f"{environment}/bin:/opt/own:/bin"


@pytest.mark.parametrize(
    ("project", "summary"),
    [("syntax_error", "SyntaxError"), ("import_error", "a_module_that_is_nowhere")],
)
async def test_failed_start_has_its_traceback(harness: Harness, project: str, summary: str) -> None:
    """The failure is the model's own, with its traceback, after the configured number of tries."""
    pool = harness.workers.open_pool(harness.spec(project, "predict", start_tries=1))
    with pytest.raises(StartFailed, match=summary) as failed, trio.fail_after(PATIENCE):
        await pool.wait_ready()
    assert f"{project}.py" in failed.value.detail
    with trio.fail_after(PATIENCE):
        await pool.closed.wait()
    assert any(summary in line.text for line in pool.tail(50))


@fault(
    "an endless import (workers)",
    injection="a model file that sleeps",
    bound="cut off with its reason in time",
)
async def test_slow_start_is_killed(harness: Harness) -> None:
    """A model that loads for longer than it may is killed; the failure says so."""
    spec = harness.spec(
        "slow_start", "predict", {"SLOW_START_SECONDS": "1000"}, start_tries=1, start_timeout=0.5
    )
    pool = harness.workers.open_pool(spec)
    with pytest.raises(StartFailed, match=r"not ready within 0\.5 s"), trio.fail_after(PATIENCE):
        await pool.wait_ready()


KEPT_ALIVE = """
import threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
raise ValueError("as told")
"""


async def test_failed_start_with_a_thread_is_reported_at_once(
    harness: Harness, tmp_path: Path
) -> None:
    """A model file that fails after it began a thread is reported with its own reason, not after
    the time that a start may take."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "model.py").write_text(KEPT_ALIVE)
    spec = harness.spec("add", "add", start_tries=1, start_timeout=1000)
    replica = msgspec.structs.replace(spec.replica, code=tmp_path / "code", file="model.py")
    pool = harness.workers.open_pool(msgspec.structs.replace(spec, replica=replica))
    with pytest.raises(StartFailed, match="ValueError: as told"), trio.fail_after(PATIENCE):
        await pool.wait_ready()


@pytest.mark.parametrize("value", ["nul\0", "\ud800"])
async def test_impossible_variable_fails_its_own_start_only(harness: Harness, value: str) -> None:
    """A variable that no process can have fails the start of its own replica; other models are not
    affected."""
    neighbour = await harness.serve("add", "add")
    pool = harness.workers.open_pool(harness.spec("add", "add", {"ODD": value}, start_tries=2))
    with pytest.raises(StartFailed, match="could not be started"), trio.fail_after(PATIENCE):
        await pool.wait_ready()
    with trio.fail_after(PATIENCE):
        await pool.closed.wait()
    assert await ask(neighbour, {"a": 1, "b": 1}) == 2


LEAVES_A_CHILD = """
import subprocess
child = subprocess.Popen(["/bin/sleep", "1000"], env={})

def pid(args):
    return child.pid
"""


@pytest.mark.parametrize("by_force", [False, True])
async def test_child_without_the_mark_dies_with_its_group(
    harness: Harness, tmp_path: Path, by_force: bool
) -> None:
    """A child that a model started with an empty environment is dead once the model has ended, in
    an orderly way or killed."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "model.py").write_text(LEAVES_A_CHILD)
    spec = harness.spec("add", "pid")
    replica = msgspec.structs.replace(spec.replica, code=tmp_path / "code", file="model.py")
    pool = harness.workers.open_pool(msgspec.structs.replace(spec, replica=replica))
    with trio.fail_after(PATIENCE):
        await pool.wait_ready()
    child = psutil.Process(int(str(await ask(pool, None))))
    [slot] = pool.statistics().slots
    if by_force:
        os.kill(slot.pid or 0, signal.SIGKILL)
    pool.stop()
    with trio.fail_after(PATIENCE):
        await pool.closed.wait()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_missing_environment_fails_by_name(harness: Harness, tmp_path: Path) -> None:
    """A start without its environment fails with the name, and again at the next try."""
    spec = harness.spec("add", "add", start_tries=2)
    code = msgspec.structs.replace(spec.replica, code=tmp_path / "nowhere")
    pool = harness.workers.open_pool(msgspec.structs.replace(spec, replica=code))
    with pytest.raises(StartFailed, match="nowhere"), trio.fail_after(PATIENCE):
        await pool.wait_ready()


async def test_probe_predicts_the_example(harness: Harness, tmp_path: Path) -> None:
    """A probe passes, or raises what the model's author must know; its log stays open."""
    log = Log(tmp_path / "probe.log")
    badly = harness.spec("badly", "behave", request_timeout=PATIENCE)
    with trio.fail_after(PATIENCE):
        await harness.workers.probe(harness.spec("add", "add"), log, say({"a": 1, "b": 2}))
        await harness.workers.probe(harness.spec("add", "add"), log, None)
        with pytest.raises(ProbeRaised, match="ValueError: as told"):
            await harness.workers.probe(badly, log, say({"do": "raise"}))
        with pytest.raises(ProbeRaised, match="status 3"):
            await harness.workers.probe(badly, log, say({"do": "exit"}))
        with pytest.raises(StartFailed, match="nowhere"):
            await harness.workers.probe(
                harness.spec("import_error", "predict", start_tries=1), log, None
            )
    assert not log.closed
    log.close()


async def test_restart_under_load_loses_no_request(harness: Harness) -> None:
    """Requests that come throughout a restart are all answered."""
    pool = await harness.serve("add", "add", replicas=2)
    before = {slot.pid for slot in pool.statistics().slots}
    done = trio.Event()

    async def keep_asking() -> None:
        while not done.is_set():
            assert await ask(pool, {"a": 1, "b": 1}) == 2

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(keep_asking)
        with trio.fail_after(PATIENCE):
            await pool.restart()
        done.set()
    assert before.isdisjoint({slot.pid for slot in pool.statistics().slots})


async def test_recycling_under_load_loses_no_request(harness: Harness) -> None:
    """While replicas are replaced after every 20 requests each caller gets its own answer."""
    pool = await harness.serve("add", "add", replicas=2, recycle_after_requests=20)
    asked = 0
    with trio.fail_after(PATIENCE):
        while sum(slot.recycled for slot in pool.statistics().slots) < 3:
            assert await ask(pool, {"a": asked, "b": 1}) == asked + 1
            asked += 1
    assert asked > 40


async def test_stopped_replica_runs_its_exit_handlers(harness: Harness, tmp_path: Path) -> None:
    """At a stop, the handler of SIGTERM and the functions registered with atexit run, and are in
    the log."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "model.py").write_text(
        "import atexit, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('told'))\n"
        "atexit.register(print, 'farewell')\n"
        "def predict(args): ...\n"
    )
    spec = harness.spec("add", "predict")
    replica = msgspec.structs.replace(spec.replica, code=tmp_path / "code", file="model.py")
    pool = harness.workers.open_pool(msgspec.structs.replace(spec, replica=replica))
    with trio.fail_after(PATIENCE):
        await pool.wait_ready()
        pool.stop()
        await pool.closed.wait()
    assert [line.text for line in pool.tail(2)] == ["told", "farewell"]


async def test_new_pool_takes_over_under_load_without_loss(harness: Harness) -> None:
    """A redeployment under load switches, takes over and drains; every request has its answer."""
    current = await harness.serve("badly", "behave")
    done = trio.Event()

    async def keep_asking() -> None:
        while not done.is_set():
            assert await ask(current, {"do": "sleep", "seconds": 0.01}) == 0.01

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(keep_asking)
        for _ in range(2):
            old, current = current, await harness.serve("badly", "behave")
            current.take_over(old)
            old.drain()
            with trio.fail_after(PATIENCE):
                await old.closed.wait()
        done.set()


async def test_cancelled_prediction_leaves_the_replica_in_step(harness: Harness) -> None:
    """A caller after one that disconnected gets its own answer."""
    pool = await harness.serve("badly", "behave")
    with trio.move_on_after(0.05):
        await pool.predict(say({"do": "sleep", "seconds": 0.3}))
    assert await ask(pool, {"do": "echo", "mine": True}) == {"do": "echo", "mine": True}


async def test_new_gateway_removes_leftovers_of_an_old_one(tmp_path: Path) -> None:
    """Processes and working copies of an earlier gateway do not survive the next start."""
    name = f"test-{os.getpid()}-{tmp_path.name}"
    (tmp_path / "replicas" / "add-abcde-1" / "code").mkdir(parents=True)
    orphan = spawn(
        Launch(ProjectCommand(["/bin/sleep", "1000"], "/", {})),
        mark=f"{name}/tree/",
        stdout=1,
        stderr=2,
    )
    with trio.fail_after(PATIENCE):
        async with open_workers(tmp_path / "replicas", name):
            assert list((tmp_path / "replicas").iterdir()) == []
            await trio.lowlevel.wait_readable(orphan.pidfd)
    assert orphan.reap() == -signal.SIGKILL


async def test_workers_close_while_models_hang(tmp_path: Path, environment: Path) -> None:
    """No action of a model keeps the workers from closing; waiting callers get an outcome."""
    outcomes = []
    async with trio.open_nursery() as nursery:
        with trio.fail_after(PATIENCE):
            async with open_harness(tmp_path, environment) as harness:
                pool = await harness.serve("badly", "behave")

                async def predict() -> None:
                    outcomes.append(await pool.predict(say({"do": "hang_in_c"})))

                nursery.start_soon(predict)
                await trio.testing.wait_all_tasks_blocked()
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], Died | NotReady)


class Place(msgspec.Struct, frozen=True):
    """Where a script works."""

    home: Path
    tmp: Path
    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    prefix: Path | None = None
    unix_sockets: bool = False


async def test_confined_script_imports_cdsw_and_cml(harness: Harness, tmp_path: Path) -> None:
    """Pythons of a confined script can import `cdsw` and `cml`, after the paths of its own
    variables."""
    for name in ("home", "tmp", "own"):
        (tmp_path / name).mkdir()
    (tmp_path / "own" / "cml.py").write_text("whose = 'its own'\n")
    log = Log(tmp_path / "log")
    status = await harness.workers.run(
        [sys.executable, "-c", "import cdsw, cml; print(cdsw.track_metric.__name__, cml.whose)"],
        cwd=tmp_path / "home",
        paths=Place(tmp_path / "home", tmp_path / "tmp", read=(tmp_path / "own",)),
        variables={"PYTHONPATH": str(tmp_path / "own")},
        log=log,
        time_limit=PATIENCE,
        limits=Limits(),
    )
    log.close()
    assert status == 0
    assert [line.text for line in log.tail(1)] == ["track_metric its own"]


async def test_slow_copies_do_not_delay_other_identities(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many replicas of one identity are being made, and however long that takes, replicas
    of another and all other work that needs a thread continue."""
    make, gate = workspace.make, threading.Event()

    def slow(code: Path, folder: Path, home: Path) -> Path:
        if code.name == "badly":
            gate.wait()
        return make(code, folder, home)

    monkeypatch.setattr(workspace, "make", slow)
    spec = harness.spec("badly", "predict", replicas=50)
    greedy = msgspec.structs.replace(
        spec, replica=msgspec.structs.replace(spec.replica, identity=7)
    )
    pool = harness.workers.open_pool(greedy)
    try:
        await trio.testing.wait_all_tasks_blocked(0.2)
        with trio.fail_after(PATIENCE):
            await trio.to_thread.run_sync(int)
            await harness.serve("add", "add")
    finally:
        pool.stop()
        gate.set()

"""Experiments: run to their end in their own environment, stopped, resumed, taken away."""

import os
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import httpx
import psutil
import pytest
import trio

from gateway.control.backup.restore import restore
from gateway.control.builds import environments
from gateway.control.resources import GIB, HostResources
from tests.faults.matrix import fault
from tests.support.gateway import (
    Gateway,
    Json,
    copy_of,
    in_a_process,
    refusal,
    running,
    settings_for,
    speaking_to,
    status_is,
    until,
    url_in,
)

FIT = """\
import cdsw
print("fitting with", sys.argv[1:])
for step in range(3):
    cdsw.track_metric("loss", 1 / (step + 1))
cdsw.track_metric("kind", "linear")
with open("model.pkl", "w") as file:
    file.write("weights")
cdsw.track_file("model.pkl")
"""
WAITS = """\
import os, subprocess, time
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
with open({pids!r}, "w") as file:
    file.write(f"{{os.getpid()}} {{child.pid}}\\n")
import cdsw
cdsw.track_metric("begun", True)
print("waiting")
while not os.path.exists({gate!r}):
    time.sleep(0.02)
"""


def project_with(folder: Path, **files: str) -> Path:
    """A project of these files; `cdsw_build` is its build script."""
    folder.mkdir()
    for name, text in files.items():
        if name == "cdsw_build":
            (folder / "cdsw-build.sh").write_text(text)
        else:
            (folder / f"{name}.py").write_text(text)
    return folder


def that_waits(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A project whose script tells its processes, then waits for the gate; pids, gate."""
    pids, gate = tmp_path / "pids", tmp_path / "gate"
    text = WAITS.format(pids=str(pids), gate=str(gate))
    return project_with(tmp_path / "waits", wait=text, other="print('other')"), pids, gate


async def run(gateway: Gateway, project: str, script: str, *arguments: str, **more: object) -> str:
    """The path of a new experiment, not waited for."""
    asked = {"script": script, "arguments": list(arguments), **more}
    made = await gateway.post(f"{project}/experiments", asked)
    return f"{project}/experiments/{made['id']}"


async def ended(gateway: Gateway, experiment: str) -> Json:
    return await gateway.until(experiment, status_is("succeeded", "failed", "stopped"))


async def log_of(gateway: Gateway, experiment: str) -> str:
    return (await gateway.admin.get(f"{experiment}/log")).text


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_experiment_has_its_output_metrics_and_files(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A script runs as an IPython session would, and what it prints, tracks and keeps is there."""
    project = await gateway.project(project_with(tmp_path / "p", fit=FIT))
    experiment = await run(gateway, project, "fit.py", "--alpha", "0.5", comment="first")
    told = await ended(gateway, experiment)
    assert (told["status"], told["exit_status"], told["failure"]) == ("succeeded", 0, None)
    assert (told["experiment_number"], told["comment"]) == (1, "first")
    assert told["created_at"] < told["started_at"] < told["ended_at"]
    assert told["metrics"] == {"loss": 1 / 3, "kind": "linear"}
    assert "fitting with ['--alpha', '0.5']\n" in await log_of(gateway, experiment)
    points = (await gateway.get(f"{experiment}/metrics"))["metrics"]
    assert [(p["key"], p["value"]) for p in points] == [
        ("loss", 1.0),
        ("loss", 0.5),
        ("loss", 1 / 3),
        ("kind", "linear"),
    ]
    [file] = (await gateway.get(f"{experiment}/files"))["files"]
    assert (file["path"], file["file_size"]) == ("model.pkl", "7")
    assert (await gateway.admin.get(f"{experiment}/files/model.pkl")).content == b"weights"
    await gateway.post(f"{experiment}:add_to_project", {"path": "model.pkl"})
    assert (tmp_path / "p" / "model.pkl").read_bytes() == b"weights"
    left = {path.name for path in (gateway.data / "experiments" / told["id"]).iterdir()}
    assert left <= {"outputs", "tracked"}


async def test_environment_is_shared_by_equal_runs(gateway: Gateway, tmp_path: Path) -> None:
    """Runs share one environment, also at the same time, until a file changes that the build script
    reads; the names of all files count."""
    made = tmp_path / "made"
    folder = project_with(
        tmp_path / "p", fit="print('fit')", cdsw_build=f"echo made >> {made}; sleep 0.2\n"
    )
    project = await gateway.project(folder)
    both = [await run(gateway, project, "fit.py") for _ in range(2)]
    locks = []
    for each in [*both, await run(gateway, project, "fit.py")]:
        experiment = await ended(gateway, each)
        assert experiment["status"] == "succeeded"
        locks.append(experiment["lock"])
    assert locks[0]["id"]
    assert locks[1:] == locks[:-1]  # an environment that was found again has its lock
    assert made.read_text() == "made\n"
    (folder / "fit.py").write_text("print('fit again')")
    assert (await ended(gateway, await run(gateway, project, "fit.py")))["status"] == "succeeded"
    assert made.read_text() == "made\n"
    (folder / "new.py").write_text("")
    assert (await ended(gateway, await run(gateway, project, "fit.py")))["status"] == "succeeded"
    assert made.read_text() == "made\nmade\n"


async def test_environments_used_last_are_kept(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a project as many environments stay as were used last; gc takes those as well."""
    monkeypatch.setattr(environments, "KEPT", 1)
    folder = project_with(tmp_path / "p", fit="pass")
    project = await gateway.project(folder)
    for number in range(2):
        (folder / "cdsw-build.sh").write_text(f"echo {number}")
        await ended(gateway, await run(gateway, project, "fit.py"))

    async def standing() -> list[str]:
        return os.listdir(gateway.data / "environments")

    await until(standing, lambda found: len(found) == 1)
    garbage = (await gateway.get("/garbage"))["garbage"]
    kinds = [each["kind"] for each in garbage]
    assert kinds.count("environment") == 1
    await gateway.delete("/garbage")
    assert await standing() == []
    assert (await ended(gateway, await run(gateway, project, "fit.py")))["status"] == "succeeded"


async def test_script_that_fails_says_its_last_line(gateway: Gateway, tmp_path: Path) -> None:
    """A script that raises or exits with a status has failed, with its last line; what it kept
    until then is kept."""
    folder = project_with(
        tmp_path / "p", raises=FIT + "raise ValueError('no luck')", exits="import sys; sys.exit(7)"
    )
    project = await gateway.project(folder)
    raised = await ended(gateway, experiment := await run(gateway, project, "raises.py"))
    assert (raised["status"], raised["exit_status"]) == ("failed", 1)
    assert raised["failure"]["problem"] == "ValueError: no luck"
    assert raised["metrics"]["loss"] == 1 / 3
    assert len((await gateway.get(f"{experiment}/files"))["files"]) == 1
    assert "raises.py" in await log_of(gateway, experiment)
    exited = await ended(gateway, await run(gateway, project, "exits.py"))
    assert (exited["status"], exited["exit_status"]) == ("failed", 7)
    assert "status 7" in exited["failure"]["summary"]


async def test_experiment_without_environment_fails(gateway: Gateway, tmp_path: Path) -> None:
    """Where the build script fails, so does the experiment, and its script is never run."""
    folder = project_with(tmp_path / "p", fit="print('ran')", cdsw_build="echo no luck; exit 3\n")
    project = await gateway.project(folder)
    told = await ended(gateway, experiment := await run(gateway, project, "fit.py"))
    assert (told["status"], told["started_at"]) == ("failed", None)
    assert told["failure"]["step"] == "BUILD_SCRIPT"
    assert "ran" not in (await log_of(gateway, experiment)).splitlines()
    assert os.listdir(gateway.data / "builds") == []


async def test_stopped_experiment_leaves_no_process(gateway: Gateway, tmp_path: Path) -> None:
    """Stopped while it runs, its whole tree is dead when that is told, and what it tracked is
    there; stopped in line, it never runs. Neither can be stopped again."""
    folder, pids, _ = that_waits(tmp_path)
    project = await gateway.project(folder)
    first = await run(gateway, project, "wait.py")
    await gateway.until(first, lambda told: told["metrics"] == {"begun": True})
    processes = [int(pid) for pid in pids.read_text().split()]
    assert all(is_alive(pid) for pid in processes)
    assert refusal(await gateway.admin.get(f"{first}/files")) == (409, "state.conflict")
    # Two run at once.
    others = [await run(gateway, project, "wait.py") for _ in range(2)]
    await gateway.until(others[0], status_is("running"))
    assert (await gateway.get(others[1]))["waiting_for"] == "its turn"
    for each in reversed([first, *others]):
        assert (await gateway.post(f"{each}:stop"))["status"] == "stopped"
        assert refusal(await gateway.admin.post(f"{each}:stop")) == (409, "state.conflict")
    assert not any(is_alive(pid) for pid in processes)
    assert (await gateway.get(first))["metrics"] == {"begun": True}
    assert (await gateway.get(others[1]))["started_at"] is None
    assert (await log_of(gateway, first)).endswith("[predictd] the experiment was stopped\n")


async def test_deleted_experiment_leaves_nothing(gateway: Gateway, tmp_path: Path) -> None:
    """A deleted experiment, running or not, leaves neither process nor file; so does a project."""
    folder, pids, _ = that_waits(tmp_path)
    project = await gateway.project(folder)
    over, running_ = await run(gateway, project, "other.py"), await run(gateway, project, "wait.py")
    await ended(gateway, over)
    await gateway.until(running_, lambda told: told["metrics"] != {})
    await gateway.delete(running_)
    assert not any(is_alive(int(pid)) for pid in pids.read_text().split())
    assert refusal(await gateway.admin.get(running_)) == (404, "experiment.notfound")
    assert len(os.listdir(gateway.data / "experiments")) == 1
    await run(gateway, project, "wait.py")
    await gateway.delete(project)
    for place in ("experiments", "builds", "logs/experiments", "snapshots"):
        assert os.listdir(gateway.data / place) == []


async def test_log_of_an_experiment_is_live(gateway: Gateway, tmp_path: Path) -> None:
    """Lines are told as they are printed, from the first on, and at the end how it ended."""
    folder, _, gate = that_waits(tmp_path)
    experiment = await run(gateway, await gateway.project(folder), "wait.py")
    lines = []
    headers = {"Accept": "text/event-stream"}
    with trio.fail_after(30):
        async with gateway.admin.stream("GET", f"{experiment}/log", headers=headers) as answer:
            async for line in answer.aiter_lines():
                lines.append(line)
                if line == 'data: "waiting"':
                    gate.touch()
    printed = [line for name, line in pairwise(lines) if name == "event: line"]
    assert printed == ['data: "waiting"']
    assert "event: preparing" in lines
    assert lines[-3:] == ["event: end", 'data: {"status":"succeeded"}', ""]


async def test_experiment_that_cannot_run_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    """What cannot be run is refused at once, and leaves nothing."""
    project = await gateway.project(project_with(tmp_path / "p", fit="pass"))
    for asked, code in (
        ({"script": "absent.py"}, (404, "file.notfound")),
        ({"script": "x" * 300}, (404, "file.notfound")),
        ({"script": "x/" * 3000}, (404, "file.notfound")),
        ({"script": "../p/fit.py"}, (400, "path.refused")),
        ({"script": "."}, (404, "file.notfound")),
        ({"script": "p/.."}, (400, "path.refused")),
        ({"script": "fit.py", "kernel": "python9.9"}, (400, "kernel.unknown")),
        ({"script": "fit.py", "cpu": 0}, (400, "argument.invalid")),
        ({"script": "fit.py", "memory": 100_000}, (400, "resources.exceeded")),
        ({"script": "fit.py", "arguments": ["\0"]}, (400, "argument.invalid")),
        ({"script": "fit.py", "arguments": ["x" * 70_000]}, (400, "argument.invalid")),
        ({"script": "fit.py", "arguments": [""] * 2000}, (400, "argument.invalid")),
    ):
        assert refusal(await gateway.admin.post(f"{project}/experiments", json=asked)) == code
    assert (await gateway.get(f"{project}/experiments"))["experiments"] == []


async def test_script_may_be_a_link(gateway: Gateway, tmp_path: Path) -> None:
    """A link in the project may be run. Whether one leads to a file of the machine is not told."""
    project = project_with(tmp_path / "p", fit="print('ran')")
    (project / "link.py").symlink_to("fit.py")
    address = await gateway.project(project)
    experiment = await run(gateway, address, "link.py")
    assert (await ended(gateway, experiment))["status"] == "succeeded"
    told = []
    for target in ("/etc/passwd", "/etc/no-such-file"):
        (project / "out.py").symlink_to(target)
        asked = {"script": "out.py"}
        answer = await gateway.admin.post(f"{address}/experiments", json=asked)
        failed = await ended(gateway, f"{address}/experiments/{answer.json()['id']}")
        told.append(str(failed["failure"]).replace(target, "there"))
        (project / "out.py").unlink()
    assert told[0] == told[1]


@fault(
    "links and pipes among what a script keeps",
    injection="links to files of others, a pipe in place of its metrics",
    bound="nothing is read through them, and nothing blocks",
)
async def test_output_of_a_script_leads_nowhere(gateway: Gateway, tmp_path: Path) -> None:
    """Links, pipes and closed folders among what a script keeps can be neither read nor added."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    folder = project_with(
        tmp_path / "p",
        bad=f"""\
import os
os.chdir(os.environ["CDSW_OUTPUT_DIR"])
os.symlink({str(secret)!r}, "link")
os.symlink({str(tmp_path)!r}, "folder")
os.mkfifo("pipe")
os.makedirs("closed/deeper")
open("closed/deeper/file", "w").close()
os.chmod("closed", 0)
os.mkfifo(os.environ["PREDICTD_RUN_METRICS"])
""",
    )
    experiment = await run(gateway, await gateway.project(folder), "bad.py")
    assert (await ended(gateway, experiment))["status"] == "succeeded"
    files = (await gateway.get(f"{experiment}/files"))["files"]
    assert [file["path"] for file in files] == ["closed/deeper/file"]
    for path in ("link", "folder/secret", "pipe", "closed", "../outputs/closed/deeper/file"):
        answer = await gateway.admin.post(f"{experiment}:add_to_project", json={"path": path})
        assert refusal(answer)[1] in ("file.notfound", "path.refused")
    outside = {"path": "closed/deeper/file", "target": "../../x"}
    answer = await gateway.admin.post(f"{experiment}:add_to_project", json=outside)
    assert refusal(answer) == (400, "path.refused")


async def test_experiments_are_compared(gateway: Gateway, tmp_path: Path) -> None:
    """Experiments are compared by their last values, and by how several numbers of one key went."""
    folder = project_with(tmp_path / "p", fit=FIT, other="import cdsw; cdsw.track_metric('r2', 1)")
    project = await gateway.project(folder)
    for script in ("fit.py", "other.py"):
        await ended(gateway, await run(gateway, project, script))
    told = await gateway.get(f"{project}/experiments:compare", ids="2,1")
    assert [each["experiment_number"] for each in told["experiments"]] == [2, 1]
    assert told["metrics"] == {"kind": [None, "linear"], "loss": [None, 1 / 3], "r2": [1, None]}
    assert list(told["series"]) == ["loss"]
    nothing, loss = told["series"]["loss"]
    assert nothing == []
    assert [value for _, value in loss] == [1.0, 0.5, 1 / 3]
    assert refusal(await gateway.admin.get(f"{project}/experiments:compare?ids=9"))[0] == 404
    assert len((await gateway.get("/experiments"))["experiments"]) == 2


@fault(
    "kill -9 while experiments run and wait",
    injection="SIGKILL to the gateway, then its next start",
    bound="what ran has failed and kept what it tracked, what waited runs",
)
async def test_killed_gateway_fails_running_and_continues_queued_experiments(
    tmp_path: Path,
) -> None:
    """After kill -9 what ran has failed, with its metrics so far, and what waited continues."""
    data = tmp_path / "data"
    begins = "import cdsw, time; cdsw.track_metric('begun', True); time.sleep(1000)"
    folder = project_with(tmp_path / "p", wait=begins, other="print('other')")
    with in_a_process(data) as process:
        async with speaking_to(url_in(data), data) as gateway:
            await gateway.admin.patch("/site/settings", json={"max_concurrent_experiments": 1})
            project = await gateway.project(folder)
            begun = await run(gateway, project, "wait.py")
            await gateway.until(begun, lambda told: told["metrics"] == {"begun": True})
            waiting = await run(gateway, project, "other.py")
            assert (await gateway.get(waiting))["status"] == "queued"
        process.kill()
        process.wait()
    (data / "gateway.json").unlink()
    with in_a_process(data):
        async with speaking_to(url_in(data), data) as gateway:
            failed = await gateway.get(begun)
            assert failed["status"] == "failed"
            assert failed["failure"]["summary"] == "The gateway ended"
            assert failed["metrics"] == {"begun": True}
            assert (await ended(gateway, waiting))["status"] == "succeeded"
            left = os.listdir(data / "experiments" / failed["id"])
            assert "work" not in left


async def test_stopped_gateway_leaves_queued_experiments(tmp_path: Path) -> None:
    """A gateway that stops in an orderly way says so of what ran, and leaves what waited queued:
    it runs in an environment of the variables that are set then."""
    folder, pids, _ = that_waits(tmp_path)
    made = tmp_path / "made"
    (folder / "cdsw-build.sh").write_text(f"echo made with $COLOUR >> {made}\n")
    settings = settings_for(tmp_path / "data", max_concurrent_experiments=1)
    async with running(settings) as gateway:
        project = await gateway.project(folder)
        begun = await run(gateway, project, "wait.py")
        await gateway.until(begun, lambda told: told["metrics"] == {"begun": True})
        waiting = await run(gateway, project, "other.py")
    assert not any(is_alive(int(pid)) for pid in pids.read_text().split())
    async with running(settings_for(tmp_path / "data", environment={"COLOUR": "red"})) as gateway:
        told = await gateway.get(begun)
        assert (told["status"], told["metrics"]) == ("failed", {"begun": True})
        assert told["failure"]["summary"] == "The gateway ended"
        assert (await ended(gateway, waiting))["status"] == "succeeded"
    assert made.read_text() == "made with\nmade with red\n"


async def test_stopping_gateway_starts_no_script(tmp_path: Path) -> None:
    """A script whose environment is ready while the gateway stops is run by the next one."""
    settings = settings_for(tmp_path / "data", shutdown_grace=3.0)
    serves, begun = tmp_path / "data" / "gateway.json", tmp_path / "begun"
    folder = project_with(
        tmp_path / "p",
        cdsw_build=f"[ -e {begun} ] || while [ -e {serves} ]; do touch {begun}; sleep 0.02; done\n",
        fit=f"import os, time\nwhile not os.path.exists({str(serves)!r}): time.sleep(0.02)\n",
    )

    async def follow(url: str, task_status: trio.TaskStatus[None]) -> None:
        headers = {
            "Accept": "text/event-stream",
            "Authorization": gateway.admin.headers["Authorization"],
        }
        with suppress(httpx.HTTPError):  # the gateway ends at last
            async with (
                httpx.AsyncClient(headers=headers) as client,
                client.stream("GET", url) as log,
            ):
                task_status.started()
                async for _ in log.aiter_lines():
                    pass

    async with trio.open_nursery() as nursery, running(settings) as gateway:
        project = await gateway.project(folder)
        experiment = await run(gateway, project, "fit.py")
        await until(trio.Path(begun).exists, bool)
        # It is waited for as long as a request is being answered.
        await nursery.start(follow, f"{gateway.url}/api/v2{experiment}/log")
    async with running(settings_for(tmp_path / "data")) as gateway:
        assert (await ended(gateway, experiment))["status"] == "succeeded"


async def test_backup_holds_experiments(tmp_path: Path) -> None:
    """After a restore what experiments kept and tracked is there; what ran then has failed, and
    what waited runs from its snapshot."""
    folder, _, _ = that_waits(tmp_path)
    (folder / "fit.py").write_text(FIT)
    file = tmp_path / "backup.tar"
    settings = settings_for(tmp_path / "data", max_concurrent_experiments=1)
    async with running(settings) as gateway:
        project = await gateway.project(folder)
        await ended(gateway, over := await run(gateway, project, "fit.py"))
        begun = await run(gateway, project, "wait.py")
        await gateway.until(begun, status_is("running"))
        waiting = await run(gateway, project, "fit.py")
        file.write_bytes((await gateway.admin.get("/backup")).content)
    await restore(file, tmp_path / "restored")
    async with running(settings_for(tmp_path / "restored")) as gateway:
        assert (await gateway.admin.get(f"{over}/files/model.pkl")).content == b"weights"
        assert len((await gateway.get(f"{over}/metrics"))["metrics"]) == 4
        assert "fitting with" in await log_of(gateway, over)
        assert (await gateway.get(begun))["status"] == "failed"
        assert (await ended(gateway, waiting))["status"] == "succeeded"


@fault(
    "a script that fills the disk",
    injection="files without end",
    bound="ended at `max_disk`, and told so",
)
async def test_script_that_writes_too_much_is_ended(gateway: Gateway, tmp_path: Path) -> None:
    """A script that writes more than it may is ended, and told so."""
    await gateway.admin.patch("/site/settings", json={"max_disk": "20MiB"})
    writes = """\
import os
for number in range(1000):
    with open(os.path.join(os.environ["CDSW_OUTPUT_DIR"], str(number)), "wb") as file:
        file.write(bytes(2**20))
    import time; time.sleep(0.05)
"""
    project = await gateway.project(project_with(tmp_path / "p", writes=writes))
    told = await ended(gateway, experiment := await run(gateway, project, "writes.py"))
    assert told["status"] == "failed"
    assert "written more than" in told["failure"]["summary"]
    assert "max_disk" in told["failure"]["advice"]
    assert "[predictd] the script was ended" in await log_of(gateway, experiment)


REDEPLOYS = """
import json, os, urllib.error, urllib.request
origin = os.environ["CDSW_API_URL"].rpartition("/api/")[0] + "/api/v2"
def ask(method, path, body=None):
    headers = {"Authorization": "Bearer " + os.environ["CDSW_APIV2_KEY"]}
    headers["Content-Type"] = "application/json"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(origin + path, data, headers, method=method)
    try:
        return json.load(urllib.request.urlopen(request))
    except urllib.error.HTTPError as error:
        return json.load(error)
[project] = ask("GET", "/projects")["projects"]
model = ask("POST", f"/projects/{project['id']}/models", {"name": "made"})
config = {"file_path": "add.py", "function_name": "add", "auto_deploy_model": True}
build = ask("POST", f"/projects/{project['id']}/models/{model['id']}/builds", config)
print("build", build["build_number"])
print(ask("PATCH", f"/projects/{project['id']}", {"description": "x"})["message"])
"""


async def test_script_deploys_with_its_key(gateway: Gateway, tmp_path: Path) -> None:
    """What the run's user may do in its project, short of saying who may do what, its key may do;
    the refusal of the rest names the key to use."""
    folder = copy_of("add", tmp_path)
    (folder / "redeploy.py").write_text(REDEPLOYS)
    project = await gateway.project(folder)
    await gateway.project(project_with(tmp_path / "other", nothing=""), "other")
    await ended(gateway, experiment := await run(gateway, project, "redeploy.py"))
    log = await log_of(gateway, experiment)
    assert "build 1" in log
    assert "use an API key of admin's own" in log
    [model] = (await gateway.get(f"{project}/models"))["models"]
    await gateway.until(f"{project}/models/{model['id']}", status_is("deployed"))


async def test_script_waits_for_the_memory_of_another(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one that does not fit beside what the first may still take waits for its end."""
    monkeypatch.setattr(HostResources, "free", lambda _: 3 * GIB)
    folder, pids, gate = that_waits(tmp_path)
    project = await gateway.project(folder)
    first = await run(gateway, project, "wait.py", memory=2)
    await until(trio.Path(pids).exists, bool)
    second = await run(gateway, project, "other.py", memory=2)
    waits = await gateway.until(second, lambda e: "not enough memory" in e["waiting_for"])
    assert waits["status"] == "queued"
    assert "experiments and sessions may take" in waits["waiting_for"]
    gate.touch()
    for each in (first, second):
        assert (await ended(gateway, each))["status"] == "succeeded"

"""Odd, and yet fine: or at least told in so many words."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from gateway.client import ApiError, Client, Json
from tests.faults.matrix import fault
from tests.support.builds import virtualenv_of
from tests.support.polling import until
from tests.support.served_gateway import (
    UNFINISHED,
    Gateway,
    at,
    write,
)

ECHO = "def echo(args):\n    return args\n"


def at_once(gateway: Gateway, count: int, ask: Callable[[Client], object]) -> list[str]:
    """The outcomes of asking from several threads: "ok", or the error's code; in order."""
    outcomes = []

    def run() -> None:
        with gateway.new_client() as client:
            try:
                ask(client)
            except ApiError as error:
                outcomes.append(error.code)
            else:
                outcomes.append("ok")

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes)


def test_names_may_be_in_any_script(gateway: Gateway, tmp_path: Path) -> None:
    """A folder, a file and a model may have a name in any script, with blanks."""
    folder = write(tmp_path / "prøject ☃", {"mödel file.py": ECHO})
    outcome = gateway.cli(
        "deploy", "--no-auth", "mödel file.py:echo", "--name", "Größe 模型", cwd=folder
    )
    assert outcome.code == 0, outcome.err
    assert gateway.cli("call", "prøject ☃/Größe 模型", '"é☃"').out == '"é☃"\n'


def test_model_root_is_the_root_of_imports_and_files(gateway: Gateway, tmp_path: Path) -> None:
    """With a model root, imports and opened files are searched there, and not above."""
    model_file = (
        "import helper\n\ndef where(args):\n    return helper.NAME + open('x.txt').read()\n"
    )
    files = {"in/where.py": model_file, "in/helper.py": "NAME = 'in'\n", "in/x.txt": " there"}
    folder = write(tmp_path / "rooted", {**files, "helper.py": "NAME = 'above'\n"})
    model = gateway.model(gateway.project(folder), "where")
    build = gateway.build(model, "where.py", "where", model_root_dir="in")
    assert build["status"] == "built", build["failure"]
    gateway.deploy(model, build, replicas=1)
    assert gateway.call(model, None).body["response"] == "in there"


def test_missing_project_folder_leaves_its_builds(gateway: Gateway, tmp_path: Path) -> None:
    """Existing builds continue to serve and can be deployed again; a new build fails and names the
    folder, without the path to it."""
    folder = write(tmp_path / "project", {"echo.py": ECHO})
    model = gateway.serve(folder, "echo.py", "echo")
    shutil.rmtree(folder)
    outcome = gateway.cli("build", "create", "echo")
    assert outcome.code == 1
    assert "project is not a folder" in outcome.err
    assert gateway.cli("model", "redeploy", "echo").code == 0
    assert gateway.call(model, 1).body["response"] == 1


@fault(
    "the links of a build to its interpreter",
    injection="removed",
    bound="made again; what runs continues",
)
def test_build_with_a_missing_interpreter_is_rebuilt(gateway: Gateway, tmp_path: Path) -> None:
    """A build that lost its Python is rebuilt when it is deployed; running replicas continue."""
    model = gateway.serve(write(tmp_path / "project", {"echo.py": ECHO}), "echo.py", "echo")
    build = gateway.client.listing(f"{at(model)}/builds")[0]
    for python in (virtualenv_of(gateway.data, build["id"]) / "bin").glob("python*"):
        python.unlink()
    assert gateway.call(model, 1).status == 200
    gateway.deploy(model, build, replicas=1)
    assert gateway.call(model, 1).status == 200
    assert "is gone" in gateway.cli("build", "log", "echo").out


@fault(
    "deletions side by side",
    injection="during deployments and builds",
    bound="one wins; nothing is left",
)
def test_concurrent_deletions_succeed_once(gateway: Gateway, tmp_path: Path) -> None:
    """Of several concurrent deletions of a model that is being deployed, one succeeds and the
    others get that it is gone; the same holds for its project during builds."""
    slow = f"import time\ntime.sleep(1)\n{ECHO}"
    project = gateway.project(write(tmp_path / "project", {"echo.py": slow}))
    model = gateway.model(project, "echo")
    build = gateway.build(model, "echo.py", "echo")
    gateway.client.post(f"{at(model)}/builds/{build['id']}/deployments", {"replicas": 2})
    told = at_once(gateway, 4, lambda client: client.delete(at(model)))
    assert told == ["model.notfound"] * 3 + ["ok"]
    model = gateway.model(project, "echo")
    wish = {"file_path": "echo.py", "function_name": "echo", "auto_deploy_model": True}
    for _ in range(3):
        gateway.client.post(f"{at(model)}/builds", wish)
    told = at_once(gateway, 3, lambda client: client.delete(f"/projects/{project['id']}"))
    assert "ok" in told
    assert set(told) <= {"ok", "model.notfound", "project.notfound"}
    assert not gateway.client.listing("/projects")
    assert not gateway.processes()
    assert not list((gateway.data / "builds").iterdir())


@fault(
    "deploying and stopping in a storm",
    injection="four people at once",
    bound="the last wish serves",
)
def test_last_of_concurrent_deployments_serves(gateway: Gateway, tmp_path: Path) -> None:
    """After concurrent requests one deployment serves in the end: the last one."""
    folder = write(tmp_path / "project", {"echo.py": ECHO})
    model = gateway.serve(folder, "echo.py", "echo", replicas=1)
    of_one_replica = len(gateway.processes())
    build = gateway.client.listing(f"{at(model)}/builds")[0]
    path = f"{at(model)}/builds/{build['id']}/deployments"

    def storm(client: Client) -> None:
        for _ in range(4):
            made = client.post(path, {"replicas": 2})
            client.post(path, {"replicas": 1})
            client.post(f"{path}/{made['id']}:stop")

    assert set(at_once(gateway, 4, storm)) <= {"ok", "state.conflict"}
    last = gateway.deploy(model, build, replicas=1)

    def ended() -> list[Json]:
        found = gateway.client.listing(f"{at(model)}/deployments")
        return found if not any(each["status"] in UNFINISHED for each in found) else []

    serving = [each["id"] for each in until(ended) if each["status"] == "deployed"]
    assert serving == [last["id"]]
    until(lambda: len(gateway.processes()) == of_one_replica)
    assert gateway.call(model, 1).status == 200


def test_every_read_only_verb_works(gateway: Gateway, tmp_path: Path) -> None:
    """Every read-only verb works on the real gateway, as text and as JSON."""
    gateway.serve(write(tmp_path / "project", {"echo.py": ECHO}), "echo.py", "echo")
    verbs: list[list[str]] = [["ls"], ["project", "ls"], ["project", "show", "project"], ["status"]]
    of_model = ("status", "build ls", "deployment ls", "logs", "build log")
    for verb in [*verbs, *([*each.split(), "echo"] for each in of_model)]:
        text = gateway.cli(*verb)
        assert (text.code, bool(text.out)) == (0, True), text.err
        document = gateway.cli(*verb, "--json")
        assert document.code == 0, document.err
        # One document, or one for each line of a log.
        is_log = verb[0] == "logs" or "log" in verb
        for each in document.out.splitlines() if is_log else [document.out]:
            json.loads(each)

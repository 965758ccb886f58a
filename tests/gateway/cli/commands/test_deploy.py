"""Deploy, build, redeploy, rollback: one more build or deployment, and nothing lost."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.commands.deploy import build_network
from gateway.cli.terminal import Terminal
from gateway.client import Client
from gateway.errors import CATALOGUE
from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import State

FAILURE = {
    "step": "BUILD_SCRIPT",
    "summary": "The build script failed.",
    "problem": "No matching distribution found for nosuch",
    "advice": "Correct requirements.txt.",
}


def press_control_c() -> None:
    main = threading.main_thread().ident
    assert main
    signal.pthread_kill(main, signal.SIGINT)


def test_deploy_uploads_the_folder_and_answers(
    state: State, folder: Path, predictd: Predictd
) -> None:
    """One command in a folder leads to an answer and to the line that asks for another."""
    outcome = predictd("deploy", "model.py:add", "--example", '{"a": 3, "b": 5}')
    assert outcome.code == 0
    [project] = state.projects.values()
    assert (project["name"], project["linked"], state.sent) == ("sums", False, [["model.py"]])
    assert "sums/add serves build 1 on 2 replicas (deployment 1)." in outcome.out
    assert "answers the example with 8" in outcome.out
    assert "curl " in outcome.out
    assert "Collecting scikit-learn" in outcome.err
    assert "✓ build script  1.2 s" in outcome.err


def test_deploy_again_adds_a_build(state: State, folder: Path, predictd: Predictd) -> None:
    """The same folder and function is the same model: it gets one more build, sized as before."""
    sizes = ("--replicas", "3", "--memory", "512MiB", "--gpus", "2")
    predictd("deploy", "model.py:add", *sizes, "--env", "A=1")
    assert predictd("deploy", "model.py:add", "--comment", "better").code == 0
    assert len(state.projects) == len(state.models) == 1
    first, second = state.deployments.values()
    assert (second["build_number"], second["replicas"], second["memory"]) == (2, 3, 0.5)
    assert (first["nvidia_gpus"], second["nvidia_gpus"]) == (2, 2)
    assert (first["environment"], second["environment"]) == ('{"A": "1"}', "{}")
    assert (first["status"], second["status"]) == ("stopped", "deployed")


@pytest.mark.parametrize(
    ("replicas", "build"),
    [("none", "machine"), ("outward", "outward"), ("machine", "machine"), ("listen", "listen")],
)
def test_build_network_follows_the_replicas(replicas: str, build: str) -> None:
    """But where those reach nothing: a build needs a package index."""
    assert build_network({"network": replicas}) == build


def test_a_taken_project_name_gets_a_number(state: State, folder: Path, predictd: Predictd) -> None:
    """Two folders of one name are two projects."""
    state.project({"name": "sums"})
    state.project({"name": "sums-2"})
    assert predictd("deploy", "model.py:add", "--json").json["project"]["name"] == "sums-3"


def test_deploy_of_a_missing_file(state: State, folder: Path, predictd: Predictd) -> None:
    """A file that is not in the folder is an error before anything is created."""
    outcome = predictd("deploy", "absent.py:add")
    assert outcome.code == 2
    assert "file 'absent.py' does not exist" in outcome.err
    assert "did you mean" not in outcome.err
    assert "did you mean 'model.py'?" in predictd("deploy", "modle.py:add").err
    for outside in ("/etc/passwd:x", "../sums/model.py:add"):
        outcome = predictd("deploy", outside)
        assert (outcome.code, "is not named by its path in" in outcome.err) == (2, True)
    outcome = predictd("deploy", "model.py")
    assert (outcome.code, "'model.py' names no function" in outcome.err) == (2, True)
    assert not state.projects


@pytest.mark.parametrize("check", [False, True])
def test_mistyped_function_is_told_before_anything_is_sent(
    state: State, folder: Path, predictd: Predictd, check: bool
) -> None:
    """The file is read here first: no project is created and no file is uploaded."""
    outcome = predictd("deploy", "model.py:ad", *(["--check"] if check else []))
    assert outcome.code == (1 if check else 4)
    assert "model.py defines no 'ad'; its functions are: add" in outcome.err
    assert "hint: Did you mean 'add'?" in outcome.err
    assert (state.projects, state.sent) == ({}, [])


def test_all_models_are_looked_at_before_the_first_is_built(
    state: State, folder: Path, predictd: Predictd
) -> None:
    """A mistake in the second model of predictd.toml is told before the first one is built."""
    models = '[models.a]\nfile = "model.py"\nfunction = "add"\n[models.b]\nfile = "{}"\n{}'
    mistakes = {
        "absent.py": (2, "file 'absent.py' does not exist"),
        "model.py": (4, "model.py defines no 'predict'"),
    }
    for file, (code, text) in mistakes.items():
        (folder / "predictd.toml").write_text(models.format(file, 'function = "predict"\n'))
        outcome = predictd("deploy")
        assert (outcome.code, text in outcome.err) == (code, True), outcome.err
    assert (state.projects, state.builds) == ({}, {})


def test_function_that_may_exist_is_left_to_the_gateway(
    state: State, folder: Path, predictd: Predictd
) -> None:
    """A build script that names the file may make the function."""
    (folder / "cdsw-build.sh").write_text("python generate.py > model.py\n")
    assert predictd("deploy", "model.py:made", "--detach").code == 0


def test_watch_tells_the_next_step_of_a_mistake(
    state: State, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails after a change has its hint, and the command waits for the next change."""

    def changes(watched: Path) -> Iterator[None]:
        (watched / "model.py").write_text("def added(args): ...\n")
        yield None

    monkeypatch.setattr("gateway.cli.project_check.changes", changes)
    outcome = predictd("deploy", "model.py:add", "--watch")
    assert outcome.code == 0
    assert (
        "error: model.py defines no 'add'; its functions are: added\nhint: Did you" in outcome.err
    )
    assert outcome.err.endswith("Waiting for changes of the files, until Ctrl-C.\n")


def test_first_deploys_at_once_share_a_model(
    state: State, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that another deploy creates between the look and the request gets one more build."""
    assert predictd("deploy", "model.py:add").code == 0
    listing, looks = Client.listing, list[str]()

    def too_early(self: Client, path: str, **query: Any) -> list[Any]:
        if path.endswith("/models"):
            looks.append(path)
            if len(looks) == 1:
                return []
        return list(listing(self, path, **query))

    monkeypatch.setattr(Client, "listing", too_early)
    outcome = predictd("deploy", "model.py:add")
    assert outcome.code == 0, outcome.err
    assert "sums/add serves build 2" in outcome.out
    assert len(state.models) == 1


def test_deploy_shows_a_refusal(state: State, folder: Path, predictd: Predictd) -> None:
    """A refusal comes with the gateway's sentence, its advice and exit code 4."""
    predictd("project", "create", "p")
    outcome = predictd("deploy", "model.py:add", "--project", "p", "--replicas", "10", "--json")
    assert outcome.code == 4
    assert outcome.json["error"]["code"] == "argument.invalid"
    assert outcome.json["error"]["request_id"] == "request-1"
    assert "error: replicas: give 1 to 9" in outcome.err
    assert f"hint: {CATALOGUE['argument.invalid'].advice}" in outcome.err
    assert not state.models


def test_a_failed_build_is_explained(state: State, folder: Path, predictd: Predictd) -> None:
    """The step, the problem and the advice of a failed build reach the user; exit code 1."""
    state.build_status, state.build_failure = "build failed", FAILURE
    outcome = predictd("deploy", "model.py:add")
    assert outcome.code == 1
    assert "build 1 of 'sums/add' failed at build script: The build script failed." in outcome.err
    assert FAILURE["problem"] in outcome.err
    assert FAILURE["advice"] in outcome.err
    assert "predictd build log sums/add 1" in outcome.err
    assert "✗ build script" in outcome.err


def test_a_failed_deployment_is_explained(state: State, folder: Path, predictd: Predictd) -> None:
    """When a new deployment cannot start, the user learns why and that the old one serves."""
    predictd("deploy", "model.py:add")
    state.deployment_failure = {**FAILURE, "step": "", "summary": "ImportError: numpy"}
    outcome = predictd("model", "redeploy", "add")
    assert outcome.code == 1
    assert "deployment 2 of 'sums/add' failed: ImportError: numpy" in outcome.err
    assert "The previous deployment still serves" in outcome.err


def test_control_c_leaves_the_build_running(state: State, folder: Path, predictd: Predictd) -> None:
    """Ctrl-C ends the command, says that the work continues and how to see it."""
    released = threading.Event()

    def while_building() -> None:
        press_control_c()
        released.wait()

    state.while_building = while_building
    try:
        outcome = predictd("deploy", "model.py:add")
    finally:
        released.set()
    assert outcome.code == 130
    assert "build 1 of 'sums/add' with its deployment continues" in outcome.err
    assert "predictd status sums/add" in outcome.err
    assert len(state.deployments) == 1


def test_second_control_c_cancels(
    state: State, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the first Ctrl-C says how to cancel, and a second one does it."""
    released = threading.Event()

    def while_building() -> None:
        press_control_c()
        released.wait()

    def pressed_again(_: float) -> None:
        raise KeyboardInterrupt

    state.while_building = while_building
    monkeypatch.setattr(Terminal, "is_animated", True)
    monkeypatch.setattr("gateway.cli.watch.time.sleep", pressed_again)
    try:
        outcome = predictd("deploy", "model.py:add")
    finally:
        released.set()
    assert outcome.code == 130
    assert "Ctrl-C again within 3 s cancels build 1 of 'sums/add' with its deploy" in outcome.err
    assert "build 1 of 'sums/add' with its deployment was cancelled" in outcome.err
    [build] = state.builds.values()
    assert (build["status"], build["cancelled_by"]) == ("build failed", "admin")


def test_build_cancel(state: State, folder: Path, predictd: Predictd) -> None:
    """The last build is cancelled if none is named, and lists say by whom. One that has ended is
    refused."""
    predictd("deploy", "model.py:add")
    assert predictd("build", "cancel", "add").code == 4
    [model] = state.models.values()
    state.build(model, {"file_path": "model.py", "function_name": "add", "comment": ""})
    assert "Cancelled build 2 of sums/add." in predictd("build", "cancel", "add").out
    assert "cancelled by admin" in predictd("build", "ls", "add").out
    assert "Build 2 of sums/add: cancelled by admin." in predictd("build", "log", "add").err


def test_control_c_leaves_the_deployment_running(
    state: State, folder: Path, predictd: Predictd
) -> None:
    """The same while replicas start."""
    predictd("deploy", "model.py:add")
    state.while_deploying = press_control_c
    outcome = predictd("model", "redeploy", "add")
    assert outcome.code == 130
    assert "deployment 2 of 'sums/add' continues" in outcome.err


def test_gateway_death_ends_deploy(state: State, folder: Path, predictd: Predictd) -> None:
    """A log that breaks off is not taken for a build that ended."""
    state.dies_while_building = True
    outcome = predictd("deploy", "model.py:add")
    assert outcome.code == 3
    assert "the gateway stopped before the build ended" in outcome.err


def test_build_repeats_the_last_one_but_for_what_is_said(
    state: State, folder: Path, predictd: Predictd
) -> None:
    """A new build has the last one's file, function and example, and serves nothing."""
    predictd("deploy", "model.py:add", "--example", "[1]")
    outcome = predictd("build", "create", "add", "--function", "echo")
    assert outcome.code == 0
    assert "predictd model redeploy sums/add --build 2" in outcome.out
    last = list(state.builds.values())[-1]
    assert (last["file_path"], last["function_name"], last["example"]) == ("model.py", "echo", [1])
    assert len(state.deployments) == 1


def test_rebuild_builds_and_serves(state: State, folder: Path, predictd: Predictd) -> None:
    """A new build like the last one serves in place of it, sized like it but for what is said."""
    predictd("deploy", "model.py:add", "--cpu", "0.5", "--env", "A=b")
    outcome = predictd("model", "rebuild", "add", "--replicas", "3", "--comment", "again")
    assert "sums/add serves build 2 on 3 replicas (deployment 2)." in outcome.out
    build, deployment = list(state.builds.values())[-1], list(state.deployments.values())[-1]
    facts = (build["file_path"], build["function_name"], build["comment"])
    assert facts == ("model.py", "add", "again")
    assert (deployment["cpu"], deployment["environment"]) == (0.5, "{}")
    state.build_status, state.build_failure = "build failed", FAILURE
    outcome = predictd("model", "rebuild", "add")
    assert (outcome.code, FAILURE["summary"] in outcome.err) == (1, True)


def test_redeploy_takes_the_build_asked_for(state: State, folder: Path, predictd: Predictd) -> None:
    """Without a number it is the build that serves; of sizes only what is said changes."""
    predictd("deploy", "model.py:add", "--cpu", "0.5")
    predictd("build", "create", "add")
    assert predictd("model", "redeploy", "add", "--json").json["build_number"] == 1
    third = predictd("model", "redeploy", "add", "--build", "2", "--replicas", "9", "--json").json
    assert (third["build_number"], third["replicas"], third["cpu"]) == (2, 9, 0.5)
    outcome = predictd("model", "redeploy", "add", "--build", "7")
    assert (outcome.code, "predictd build ls sums/add" in outcome.err) == (4, True)


def test_a_failed_build_is_not_deployed(state: State, folder: Path, predictd: Predictd) -> None:
    """Asking for a failed build tells why it failed, and asks nothing of the gateway."""
    state.build_status, state.build_failure = "timedout", FAILURE
    predictd("deploy", "model.py:add")
    outcome = predictd("model", "redeploy", "add", "--build", "1")
    assert (outcome.code, len(state.deployments)) == (1, 1)
    assert "build 1 of 'sums/add' took too long at build script" in outcome.err


def test_rollback_goes_to_the_last_other_build(
    state: State, folder: Path, predictd: Predictd
) -> None:
    """It passes over deployments of the same build, failed ones and deleted builds."""
    predictd("deploy", "model.py:add", "--replicas", "5", "--env", "A=1")  # deployment 1, build 1
    predictd("build", "create", "add")
    predictd("model", "redeploy", "add", "--build", "2", "--replicas", "1")  # deployment 2
    list(state.deployments.values())[1]["build_id"] = ""  # build 2 is deleted
    predictd("build", "create", "add")
    state.deployment_failure = FAILURE
    predictd("model", "redeploy", "add", "--build", "2")  # deployment 3 never serves
    state.deployment_failure = None
    predictd("model", "redeploy", "add", "--build", "3")  # deployment 4
    predictd("model", "redeploy", "add")  # deployment 5, build 3 again
    outcome = predictd("rollback", "add", "--json")
    assert outcome.code == 0
    assert (outcome.json["build_number"], outcome.json["replicas"]) == (1, 5)
    # Another rollback would go back to the build that this one has left.
    assert "predictd model redeploy sums/add --build 1 --env" in outcome.err


def test_rollback_to_a_build_that_served(state: State, folder: Path, predictd: Predictd) -> None:
    """`--to N` deploys that build with the sizes that it had, and both say what served before."""
    for replicas in ("3", "1", "2"):
        predictd("deploy", "model.py:add", "--replicas", replicas)
    outcome = predictd("rollback", "add", "--to", "1")
    assert outcome.out == "sums/add serves build 1 on 3 replicas (deployment 4). It was build 3.\n"
    outcome = predictd("rollback", "add")
    assert "serves build 3 on 2 replicas (deployment 5). It was build 1." in outcome.out
    outcome = predictd("rollback", "add", "--to", "3")
    assert (outcome.code, "build 3 of 'sums/add' serves already" in outcome.err) == (4, True)
    predictd("build", "create", "add")
    outcome = predictd("rollback", "add", "--to", "4")
    assert (outcome.code, "has no build 4 that served before" in outcome.err) == (4, True)
    assert "`predictd model redeploy sums/add --build 4`" in outcome.err
    outcome = predictd("rollback", "add", "--to", "9")
    assert (outcome.code, "has no build 9\n" in outcome.err) == (4, True)
    assert "redeploy" not in outcome.err


def test_rollback_of_the_first_build(state: State, folder: Path, predictd: Predictd) -> None:
    """With nothing to go back to, that is said and nothing changes."""
    predictd("deploy", "model.py:add")
    outcome = predictd("rollback", "add")
    assert (outcome.code, len(state.deployments)) == (4, 1)
    assert "has no other build that served before" in outcome.err


def test_deploy_shows_what_it_waits_for(state: State, folder: Path, predictd: Predictd) -> None:
    """A deployment that waits says for what, once, and so does its model's status."""
    why = "memory: asked 8 GiB, 3.1 GiB free"

    def wait() -> None:
        [deployment] = state.deployments.values()
        deployment["waiting_for"] = why

    state.while_deploying = wait
    outcome = predictd("deploy", "model.py:add")
    assert outcome.code == 0
    assert outcome.err.count(f"Deployment 1 waits for {why}.") == 1
    [deployment] = state.deployments.values()
    deployment |= {"status": "deploying", "waiting_for": why}
    assert f"deploying, waiting for {why}" in predictd("status", "add").out


def test_deploy_takes_over_no_other_model(state: State, folder: Path, predictd: Predictd) -> None:
    """A `deploy` of a function of the same name in another file says what it would replace."""
    (folder / "two.py").write_text("def add(args):\n    return 1\n")
    assert predictd("deploy", "model.py:add").code == 0
    refused = predictd("deploy", "two.py:add")
    assert (refused.code, len(state.builds)) == (4, 1)
    assert "model 'sums/add' is model.py:add, which two.py:add would replace" in refused.err
    assert predictd("deploy", "two.py:add", "--name", "add").code == 0
    assert len(state.models) == 1


def test_deploy_replaces_an_unbuilt_model(state: State, folder: Path, predictd: Predictd) -> None:
    """A model of which no build succeeded, as after a first try with the wrong file, is not in the
    way of the next try."""
    (folder / "two.py").write_text("def add(args):\n    return 1\n")
    assert predictd("deploy", "two.py:add").code == 0
    for build in state.builds.values():
        build["status"] = "build failed"
    assert predictd("deploy", "model.py:add").code == 0
    assert len(state.models) == 1

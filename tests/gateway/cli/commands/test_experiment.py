"""Experiments from the command line: run and followed, listed, compared, stopped, taken from."""

import json
from pathlib import Path

from tests.gateway.cli.commands.test_deploy import press_control_c
from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import State

FAILURE = {
    "step": "RUN",
    "summary": "The script exited with status 1",
    "problem": "ValueError: no",
    "advice": "Correct the script.",
}


def test_experiment_run_prints_the_output(state: State, folder: Path, predictd: Predictd) -> None:
    """What the script prints is on stdout and nothing else; what comes after it is the script's."""
    outcome = predictd(
        "experiment", "run", "--cpu", "0.5", "--comment", "x", "model.py", "--alpha", "1", "--json"
    )
    assert outcome.code == 0
    assert outcome.out == "Collecting scikit-learn\nSuccessfully installed\n"
    assert "Making an environment" in outcome.err
    assert "Experiment 1 succeeded in 2.0 s. Metrics: r2 0.937123." in outcome.err
    assert "predictd experiment promote 1 FILE" in outcome.err
    [project] = state.projects.values()
    assert (project["name"], state.sent) == ("sums", [["model.py"]])
    [experiment] = state.experiments.values()
    assert (experiment["script"], experiment["cpu"], experiment["comment"]) == (
        "model.py",
        0.5,
        "x",
    )
    assert experiment["arguments"] == ["--alpha", "1", "--json"]
    document = predictd("experiment", "run", "--json", "model.py").json
    assert (document["status"], document["files"][0]["path"]) == ("succeeded", "model.pkl")


def test_script_arguments_are_split(state: State, folder: Path, predictd: Predictd) -> None:
    """Behind the script its own arguments may stand among four options of ours; behind -- all are
    its own. An option that is wrong is an error before anything runs."""
    words = ["a", "--comment", "c", "--data", "d", "--cpu=0.5", "--", "--memory", "--", "x"]
    assert predictd("experiment", "run", "--project", "p", "model.py", *words).code == 4
    state.project({"name": "p"})
    assert predictd("experiment", "run", "--project", "p", "model.py", *words).code == 0
    [experiment] = state.experiments.values()
    assert experiment["arguments"] == ["a", "--data", "d", "--memory", "--", "x"]
    assert (experiment["comment"], experiment["cpu"]) == ("c", 0.5)
    for wrong in (["--cpu", "much"], ["--comment"]):
        assert predictd("experiment", "run", "--project", "p", "model.py", *wrong).code == 2
    assert len(state.experiments) == 1


def test_failed_experiment_exits_1(state: State, folder: Path, predictd: Predictd) -> None:
    """Why a script failed reaches the user, with exit code 1; so does that it was stopped."""
    state.experiment_end = {"status": "failed", "failure": FAILURE}
    outcome = predictd("experiment", "run", "model.py")
    assert outcome.code == 1
    assert "experiment 1 failed: The script exited with status 1\nValueError: no" in outcome.err
    assert "Correct the script. Print the log with `predictd experiment log 1`" in outcome.err
    state.experiment_end = {"status": "stopped"}
    outcome = predictd("experiment", "run", "model.py")
    assert (outcome.code, "experiment 2 was stopped" in outcome.err) == (1, True)
    outcome = predictd("experiment", "run", "absent.py")
    assert (outcome.code, "file 'absent.py' does not exist" in outcome.err) == (2, True)
    state.dies_while_building = True
    outcome = predictd("experiment", "run", "model.py")
    assert (outcome.code, "before the experiment ended" in outcome.err) == (3, True)
    assert "start the experiment again" in outcome.err


def test_control_c_leaves_the_run_running(state: State, folder: Path, predictd: Predictd) -> None:
    """Ctrl-C ends the command and names the ones that show and stop the run."""
    state.while_building = press_control_c
    outcome = predictd("experiment", "run", "model.py")
    assert outcome.code == 130
    assert "experiment 1 continues" in outcome.err
    assert "predictd experiment log 1" in outcome.err
    assert "predictd experiment stop 1" in outcome.err


def test_experiment_ls_and_log(state: State, folder: Path, predictd: Predictd) -> None:
    """The list names what each came to; a log is found by the number in it, and at its end what
    there is of the experiment."""
    assert "predictd experiment run SCRIPT" in predictd("experiment", "ls").out
    predictd("experiment", "run", "model.py", "7")
    head, row = predictd("experiment", "ls").out.splitlines()
    assert head.split()[:4] == ["EXPERIMENT", "STATUS", "PROJECT", "SCRIPT"]
    assert row.split() == [
        *("1", "succeeded", "sums", "model.py", "7", "r2", "0.937123"),
        *("2026-11-21", "02:35:00", "2.0", "s"),
    ]
    assert len(predictd("experiment", "ls", "--project", "sums", "--json").json["experiments"]) == 1
    outcome = predictd("experiment", "log", "1")
    assert outcome.out == "Collecting scikit-learn\nSuccessfully installed\n"
    assert "Experiment 1: succeeded. Metrics: r2 0.937123. Files: model.pkl" in outcome.err
    outcome = predictd("experiment", "log", "1", "--json")
    *lines, last = map(json.loads, outcome.out.splitlines())
    assert lines == [
        {"stream": "preparing", "text": "Making an environment"},
        *({"stream": "script", "text": line} for line in state.build_lines),
    ]
    assert last["experiment"]["status"] == "succeeded"
    outcome = predictd("experiment", "log", "9")
    assert (outcome.code, "predictd experiment ls" in outcome.err) == (4, True)


def test_experiment_compare(state: State, folder: Path, predictd: Predictd) -> None:
    """Each metric is a row, each experiment a column, in the order asked for; of one project."""
    predictd("experiment", "run", "--comment", "first", "model.py")
    state.experiment_end = {"status": "succeeded", "metrics": {"loss": 0.5}}
    predictd("experiment", "run", "model.py", "b")
    assert [
        line.split() for line in predictd("experiment", "compare", "2", "1").out.splitlines()
    ] == [
        ["EXPERIMENT", "2", "EXPERIMENT", "1"],
        ["script", "model.py", "model.py"],
        ["arguments", "b"],
        ["comment", "first"],
        ["status", "succeeded", "succeeded"],
        ["loss", "0.5", "-"],
        ["r2", "-", "0.937123"],
    ]
    other = state.project({"name": "other"})
    state.experiment(other, {"script": "x.py"})
    outcome = predictd("experiment", "compare", "1", "3")
    assert (outcome.code, "different projects" in outcome.err) == (2, True)


def test_experiment_promote_stop_rm(state: State, folder: Path, predictd: Predictd) -> None:
    """A file goes into the project under its own name or another; a yes is needed to delete."""
    predictd("experiment", "run", "model.py")
    [identity] = state.experiments
    outcome = predictd("experiment", "promote", "1", "model.pkl")
    assert "`predictd files get model.pkl model.pkl`" in outcome.err
    outcome = predictd("experiment", "promote", "1", "absent")
    assert (outcome.code, "experiment 1 has no file 'absent'" in outcome.err) == (4, True)
    assert "`predictd experiment files 1`" in outcome.err
    assert predictd("experiment", "promote", "1", "model.pkl", "--to", "models/a.pkl").code == 0
    kept = f"{identity}/model.pkl".encode()
    assert state.uploads == {"model.pkl": kept, "models/a.pkl": kept}
    assert predictd("experiment", "stop", "1").out == "Experiment 1 is stopped.\n"
    assert predictd("experiment", "rm", "1").code == 2
    assert predictd("experiment", "rm", identity, "--yes").code == 0
    assert state.experiments == {}

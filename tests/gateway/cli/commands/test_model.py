"""The verbs that look at models and those that end them."""

import io
import sys
from pathlib import Path

import pytest

from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import KEY, State

VERBS = [
    *("status", "logs", "rollback", "build ls", "build log", "deployment ls"),
    *("model stop", "model restart", "model redeploy"),
]


@pytest.fixture(autouse=True)
def add(state: State, folder: Path, predictd: Predictd) -> None:
    """A deployed model `sums/add`."""
    assert predictd("deploy", "model.py:add", "--comment", "first").code == 0


def test_ls(predictd: Predictd) -> None:
    """One aligned line per model, and the same as JSON."""
    headings, line = predictd("ls").out.splitlines()
    assert headings.split() == ["MODEL", "STATUS", "REPLICAS", "BUILD", "UPDATED", "(UTC)"]
    assert line.split() == ["sums/add", "deployed", "2/2", "1", "2026-11-21", "02:35:00"]
    assert line.index("deployed") == headings.index("STATUS")
    assert [each["name"] for each in predictd("ls", "--json").json["models"]] == ["add"]


def test_status_of_a_model(state: State, predictd: Predictd) -> None:
    """One screen has all that one asks for: url, access key, deployment, replicas, last build."""
    [model] = state.models.values()
    text = predictd("status", "add").out
    for part in (
        model["url"],
        model["access_key"],
        "1, build 1: deployed, 2 of 2 replicas ready",
        "1: built",
        "requests waiting: 1   refused as busy: 5 (queue full 2, waited too long 3)   "
        "not ready: 6   abandoned: 7   timed out: 8",
        "limits hit: memory 2",
        "replicas ended by requests of: 10.0.0.7 3, 10.0.0.8 1",
    ):
        assert part in text
    assert text.count("64 MiB") == text.count(" 17") == 2
    assert "RESTART  RECYCLED  LAST EXIT" in text
    document = predictd("status", "add", "--json").json
    assert document["deployment"]["deployment_number"] == 1
    assert len(document["replicas"]) == 2
    assert document["build"]["build_number"] == 1


def test_status_of_the_gateway(predictd: Predictd) -> None:
    """Without a model it is the gateway and all models."""
    text = predictd("status").out
    assert "0.1.0" in text
    assert "sums/add" in text


def test_builds_and_deployments(predictd: Predictd) -> None:
    """History: which build of which function, who served what."""
    predictd("model", "redeploy", "add")
    [build] = predictd("build", "ls", "add").out.splitlines()[1:]
    assert build.split()[:3] == ["1", "built", "model.py:add"]
    assert build.endswith("first")
    _, first, second = predictd("deployment", "ls", "add").out.splitlines()
    assert first.split()[:5] == ["1", "1", "stopped", "2", "admin"]
    assert second.split()[:3] == ["2", "1", "deployed"]
    assert len(predictd("deployment", "ls", "add", "--json").json["deployments"]) == 2


def test_stop(predictd: Predictd) -> None:
    """Stopping waits for the end, tells how to serve again, and may be repeated."""
    outcome = predictd("model", "stop", "add")
    assert outcome.out == (
        "Stopped sums/add. Serve it again with `predictd model redeploy sums/add`.\n"
    )
    again = predictd("model", "stop", "add")
    assert (again.code, "is not deployed" in again.out) == (0, True)
    assert "predictd model redeploy sums/add" in predictd("status", "add").out
    assert predictd("model", "redeploy", "add").code == 0


def test_restart(state: State, predictd: Predictd) -> None:
    """A restart is waited for, unless detached; its failure is one of the command. A model that is
    not deployed cannot be restarted."""
    outcome = predictd("model", "restart", "add", "--detach")
    assert (
        "Started the restart of 'sums/add'. See it with `predictd status sums/add`" in outcome.out
    )
    assert state.requests[-1].endswith(":restart")
    outcome = predictd("model", "restart", "add")
    assert (outcome.code, outcome.out) == (0, "Restarted sums/add, 2 replicas.\n")
    state.restart_problem = "no memory"
    outcome = predictd("model", "restart", "add")
    assert (outcome.code, "restart of 'sums/add' failed: no memory" in outcome.err) == (1, True)
    predictd("model", "stop", "add")
    assert predictd("model", "restart", "add").code == 4


def test_rm_asks_first(state: State, predictd: Predictd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is deleted without a yes: from --yes, or typed at a terminal."""
    unasked = predictd("model", "rm", "add")
    assert (unasked.code, "--yes" in unasked.err) == (2, True)

    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", Keyboard("\n"))
    no = predictd("model", "rm", "add")
    assert (no.code, len(state.models)) == (1, 1)
    assert "Stop and delete sums/add with all its builds? [y/N]" in no.err
    monkeypatch.setattr(sys, "stdin", Keyboard("Yes\n"))
    assert predictd("model", "rm", "add").code == 0
    assert not state.models


def test_stop_ends_pending_deployments(state: State, predictd: Predictd) -> None:
    """What is pending does not begin to serve after `stop` has said that the model is stopped."""
    [model] = state.models.values()
    builds = [each for each in state.builds.values() if each["model_id"] == model["id"]]
    pending = state.deployment(model, builds[-1], {"replicas": 1, "environment": {}})
    pending["status"] = "pending"
    outcome = predictd("model", "stop", "add")
    assert (outcome.code, "Stopped sums/add." in outcome.out) == (0, True)
    assert {each["status"] for each in state.deployments.values()} == {"stopped"}


def test_rm_with_yes(state: State, predictd: Predictd) -> None:
    """--yes deletes without asking."""
    assert predictd("model", "rm", "add", "--yes", "--json").json["deleted"]
    assert predictd("ls").out.startswith("No models.")


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_models(verb: str, predictd: Predictd) -> None:
    """Every verb tells an unknown name, the likely one, and where to look."""
    outcome = predictd(*verb.split(), "ad")
    assert outcome.code == 4
    assert "model 'ad' does not exist" in outcome.err
    assert "did you mean 'add'? list them with `predictd ls`" in outcome.err


def test_ambiguous_names(
    state: State, predictd: Predictd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name in two projects is that of the current folder's project, and elsewhere not guessed;
    full names and ids settle it."""
    other = state.model(state.project({"name": "other"}), {"name": "add"})
    assert predictd("status", "add", "--json").json["model"]["project"]["name"] == "sums"
    # On another machine an equal path is another folder.
    monkeypatch.setenv("PREDICTD_API_KEY", KEY)
    assert predictd("status", "add", "--url", state.url).code == 2
    monkeypatch.chdir(tmp_path)
    outcome = predictd("model", "stop", "add")
    assert outcome.code == 2
    assert "sums/add (" in outcome.err
    assert f"other/add ({other['id']})" in outcome.err
    assert predictd("status", "other/add", "--json").json["model"]["id"] == other["id"]
    assert predictd("status", other["id"], "--json").json["model"]["id"] == other["id"]


def test_a_model_without_builds(state: State, predictd: Predictd) -> None:
    """A model that was only made tells how to go on."""
    state.model(state.project({"name": "other"}), {"name": "bare"})
    assert "predictd deploy" in predictd("build", "ls", "bare").out
    assert "predictd model redeploy other/bare" in predictd("deployment", "ls", "bare").out
    assert predictd("build", "create", "bare").code == 4
    assert predictd("build", "log", "bare").code == 4
    assert "not deployed" in predictd("status", "bare").out


def test_build_rm(state: State, predictd: Predictd) -> None:
    """A build is deleted after a yes; one that is deployed is refused."""
    predictd("build", "create", "add")
    assert predictd("build", "rm", "add", "2").code == 2
    assert predictd("build", "rm", "add", "2", "--yes").out == "Deleted build 2 of sums/add.\n"
    assert [each["build_number"] for each in state.builds.values()] == [1]
    refused = predictd("build", "rm", "add", "1", "--yes", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (4, "build.inuse")


def test_status_of_a_failed_build_leads_to_its_log(
    state: State, folder: Path, predictd: Predictd
) -> None:
    """A model whose build failed is corrected and deployed again; its build cannot be served."""
    state.build_status = "build failed"
    state.build_failure = {"step": "PROBE", "summary": "no", "problem": "", "advice": ""}
    predictd("deploy", "model.py:add", "--name", "broken")
    shown = predictd("status", "broken").out
    assert "Correct it, then deploy again. The log: `predictd build log sums/broken 1`." in shown
    assert "redeploy" not in shown

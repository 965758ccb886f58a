"""`predictd demo`: from nothing to an answer, with a gateway that ends when the demo does.

The gateway that the demo starts is the fake one, as a process of its own.
"""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from gateway.cli.commands import demo
from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import State

FAKE = [sys.executable, "-m", "tests.support.fake_admin_api"]


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "SERVE", FAKE)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signal, "signal", lambda *_: handler)  # the tests keep their own


def test_demo_once_leaves_nothing(predictd: Predictd, tmp_path: Path, data: Path) -> None:
    """It answers, tells how to call, and leaves neither process nor file."""
    before = psutil.Process().children(recursive=True)
    outcome = predictd("demo", "--once", "--json")
    assert outcome.code == 0
    assert outcome.json["answer"] == outcome.json["request"] == {"petal_length": 5.4}
    assert set(outcome.json["samples"]) == {"curl", "python", "r", "javascript"}
    assert not list((tmp_path / "tmp").iterdir())
    assert not data.exists()
    assert "Collecting scikit-learn" in outcome.err
    assert set(psutil.Process().children(recursive=True)) <= set(before)


def test_demo_uses_a_running_gateway(state: State, predictd: Predictd) -> None:
    """The second demo finds the model deployed, just calls it, and leaves the gateway running."""
    first = predictd("demo")
    assert first.code == 0
    assert f"Using the gateway at {state.url}." in first.err
    again = predictd("demo")
    assert "predict-petal-width is already deployed." in again.err
    assert "with R:" in again.out
    assert "-H 'Authorization: Bearer id.key-2'" in again.out
    assert len(state.model_keys) == 1  # the first one is revoked
    assert "Now your own: run `predictd deploy predict.py:predict` in a folder" in again.out
    assert "`predictd open`" in again.out
    assert (len(state.projects), len(state.builds), len(state.deployments)) == (1, 1, 1)
    assert predictd("ls").code == 0


def test_demo_without_a_gateway_fails(predictd: Predictd) -> None:
    """What the gateway said is shown; the demo fails with advice."""
    outcome = predictd("demo", "--port", "1")
    assert outcome.code == 1
    assert "predictd doctor" in outcome.err


def test_demo_serves_until_control_c(data: Path, tmp_path: Path) -> None:
    """Without --once the gateway stays after the answer; Ctrl-C ends both in good order."""
    code = f"""
import sys
from gateway.cli import main
from gateway.cli.commands import demo
demo.SERVE = {FAKE!r}
sys.exit(main(["demo", "--port", "0"]))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if "until Ctrl-C" in line:
                process.send_signal(signal.SIGINT)
                break
        assert process.wait(30) == 0
        assert process.stderr.read() == "Stopping.\n"
    assert (data / "admin.key").exists()

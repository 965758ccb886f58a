"""The verb metrics: what a model tracks of its predictions."""

from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import State

ROW = {
    "startTimeStampMs": 1_795_262_400_007,
    "endTimeStampMs": 1_795_262_400_019,
    "predictionUuid": "f0f1",
    "metrics": {"text": "\x1b[2Jé", "truth": None},
}


def test_metrics_table(state: State, folder: object, predictd: Predictd) -> None:
    """Each prediction is a line, and none can steer the terminal; --json has it as it is."""
    predictd("deploy", "model.py:add")
    state.metrics = [ROW, {**ROW, "predictionUuid": ""}]
    out = predictd("metrics", "add").out.splitlines()
    assert out[0].split() == ["STARTED", "(UTC)", "MS", "PREDICTION", "METRICS"]
    assert out[1].startswith("2026-11-21 12:00:00.007  12  f0f1")
    assert out[1].endswith('{"text": "\\u001b[2Jé", "truth": null}')
    assert "(aggregate)" in out[2]
    assert predictd("metrics", "add", "--json").json == {"metrics": state.metrics}


def test_metrics_window(state: State, folder: object, predictd: Predictd) -> None:
    """The window is passed on in milliseconds, and an empty one says what to do."""
    predictd("deploy", "model.py:add")
    outcome = predictd("metrics", "add", "--since", "1970-01-02", "--until", "1970-01-02T00:00:01")
    assert "--since" in outcome.out
    assert "start_timestamp_ms=86400000&end_timestamp_ms=86401000" in state.requests[-1]


def test_metrics_csv(state: State, folder: object, predictd: Predictd) -> None:
    """With --csv it is the gateway's table, to the letter."""
    predictd("deploy", "model.py:add")
    state.metrics_table = 'a,b\n"x\ny",é\n' * 3
    assert predictd("metrics", "add", "--csv").out == state.metrics_table

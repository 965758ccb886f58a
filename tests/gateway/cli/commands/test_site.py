"""The verbs of site administrators."""

import io
import json
import sys
from pathlib import Path

import pytest

from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import State


def test_show(state: State, predictd: Predictd) -> None:
    """One line for each setting: its value as one would type it, from where, when it is felt."""
    state.settings["environment"]["value"] = ["A", "TOKEN"]
    shown, _, disk = predictd("site", "show").out.partition("\n\n")
    lines = shown.splitlines()[1:]
    assert disk == "Disk: 5,120 MiB free.\n"
    assert [line.split()[:2] for line in lines] == [
        ["port", "8080"],
        ["max_replicas", "9"],
        ["max_request_size", "5MiB"],
        ["environment", "A,"],
        ["build_timeout", "60.0"],
    ]
    assert "secret" not in "".join(lines)
    felt = [line.rpartition("  ")[2] for line in lines]
    assert felt == [
        "after a restart",
        "immediately",
        "immediately",
        "immediately",
        "after a restart",
    ]


def test_set_and_reset(
    state: State, predictd: Predictd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings are set together and reset by name; variables are read from a file or stdin, so
    that no secret is an argument."""
    outcome = predictd("site", "set", "max_replicas=4", "max_request_size=8MiB")
    assert outcome.out.splitlines() == [
        "max_replicas = 4 immediately.",
        "max_request_size = 8MiB immediately.",
    ]
    (tmp_path / "variables.json").write_text('{"TOKEN": "secret"}')
    assert predictd("site", "set", f"environment=@{tmp_path}/variables.json").code == 0
    assert state.settings["environment"]["value"] == {"TOKEN": "secret"}
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"TOKEN": "other"}'))
    outcome = predictd("site", "set", "environment=-", "--json")
    assert outcome.json["settings"][0]["value"] == {"TOKEN": "other"}
    outcome = predictd("site", "reset", "max_replicas", "environment")
    assert outcome.out.splitlines() == [
        "max_replicas = 9, the default.",
        "environment = none, the default.",
    ]


@pytest.mark.parametrize("argv", [("set", "max_replica=4"), ("reset", "max_replica")])
def test_a_mistyped_setting_is_suggested(
    state: State, predictd: Predictd, argv: tuple[str, ...]
) -> None:
    """A name that is no setting is answered with the closest, and nothing is changed."""
    outcome = predictd("site", *argv)
    assert outcome.code == 4
    assert "error: 'max_replica' is not a setting\n" in outcome.err
    assert "did you mean 'max_replicas'?" in outcome.err


def test_what_is_refused(state: State, predictd: Predictd) -> None:
    """A refused setting names where it is fixed; exit code 4."""
    outcome = predictd("site", "set", "build_timeout=5", "--json")
    assert outcome.code == 4
    assert json.loads(outcome.out)["error"]["code"] == "setting.fixed"
    assert "a.toml" in outcome.err


def test_models(state: State, folder: Path, predictd: Predictd) -> None:
    """One line for each active model: what it takes of what it asked for, by whom, since when."""
    assert "No model is active" in predictd("site", "models").out
    predictd("deploy", "model.py:add")
    headings, line = predictd("site", "models").out.splitlines()
    assert headings.split("  ")[0] == "MODEL"
    row = "sums/add deployed 2/2 0.26 of 2 64 of 1,024 MiB 0.50 of 2 3 1 ada 2026-11-21 02:35:00"
    assert " ".join(line.split()) == row
    assert predictd("site", "models", "--json").json["models"][0]["waiting"] == 3

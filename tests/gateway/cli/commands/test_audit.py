"""`predictd audit`: the trail, page by page, and as it grows."""

import pytest

from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import NOW, Json, State


def entry(number: int, **more: object) -> Json:
    record = {"number": number, "created_at": NOW, "who": "ada", "address": "127.0.0.1"}
    what = {"action": "model.create", "object": "/projects/p/models/m", "outcome": "done"}
    return {**record, **what, "detail": "model pi", "request_id": "r", **more}


def test_audit_shows_the_newest_entries(predictd: Predictd, state: State) -> None:
    """The newest are shown, oldest first, with who, what and what came of it."""
    state.audit = [entry(number) for number in range(1, 2500)]
    state.audit.append(entry(2500, who="", outcome="auth.required", detail="\x1b[2J"))
    assert [each["number"] for each in predictd("audit", "--json").json["entries"]] == list(
        range(2401, 2501)
    )
    outcome = predictd("audit", "--most", "2", "--since", "7d")
    head, first, last = outcome.out.splitlines()
    assert head.split() == ["WHEN", "WHO", "FROM", "WHAT", "OUTCOME", "OF", "DETAIL"]
    assert "2026-11-21T02:35:00Z  ada" in first
    assert "auth.required" in last
    assert "\x1b" not in last
    many = predictd("audit", "--json", "--most", "2300", "--who", "ada").json["entries"]
    assert [each["number"] for each in many] == list(range(200, 2500))


def test_audit_follow_shows_each_entry_once(
    predictd: Predictd, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--follow` shows each entry once, also those that come, until Ctrl-C."""
    state.audit = [entry(1)]

    def wait(seconds: float) -> None:
        if len(state.audit) == 3:
            raise KeyboardInterrupt
        state.audit.append(entry(len(state.audit) + 1))

    monkeypatch.setattr("gateway.cli.commands.audit.time.sleep", wait)
    outcome = predictd("audit", "--follow")
    assert outcome.code == 130
    assert len(outcome.out.splitlines()) == 3

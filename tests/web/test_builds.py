"""Builds and deployments in a real browser: a build moves on its page, and a model is deployed
again and rolled back by clicking while it is called."""

import threading
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from gateway.client import Json
from tests.support.chromium import Person
from tests.support.served_gateway import Gateway, at, write

# Each waits for a file, so that the test says when the build continues.
_SCRIPT = r"""
printf '\033[31mred line\033[0m\n10%%\r100%%\n'
while [ ! -e {gate} ]; do sleep 0.05; done
echo the last line
"""


@pytest.fixture
def model(gateway: Gateway, person: Person, tmp_path: Path) -> Json:
    """A model that answers with the version in its code; the user of the browser owns it."""
    gateway.client.patch(f"/users/{person.name}", {"administrator": True})
    folder = write(tmp_path / f"code-{person.name}", {"answer.py": _code(1)})
    return {**gateway.model(gateway.project(folder), "answers"), "folder": folder}


def _code(version: int) -> str:
    return f"def answer(args):\n    return {version}\n"


def test_build_moves_on_its_page(
    gateway: Gateway, signed_in: Page, model: Json, tmp_path: Path
) -> None:
    """Steps and log of a build move without a reload: colours, a progress line as its last state,
    and markup as text."""
    gate = tmp_path / "gate"
    write(model["folder"], {"cdsw-build.sh": _SCRIPT.format(gate=gate) + "echo '<b>bold</b>'\n"})
    asked = {"file_path": "answer.py", "function_name": "answer", "comment": "<i>first</i>"}
    gateway.client.post(f"{at(model)}/builds", asked)
    signed_in.goto(f"{at(model)}/builds")
    expect(signed_in.get_by_role("cell", name="<i>first</i>")).to_be_visible()
    signed_in.get_by_role("link", name="Build 1").click()
    log = signed_in.get_by_role("log")
    expect(log.locator(".ansi-red")).to_have_text("red line")
    expect(log.get_by_text("100%", exact=True)).to_be_visible()
    running = signed_in.locator(".steps [aria-current=step]")
    expect(running).to_contain_text("Build script")
    gate.touch()
    expect(log).to_contain_text("the last line")
    expect(log).to_contain_text("<b>bold</b>")
    expect(signed_in.locator(".steps .is-done")).to_have_count(6)
    expect(signed_in.get_by_role("link", name="Deploy this Build")).to_be_visible()


def test_following_stops_when_one_scrolls_up(
    gateway: Gateway, signed_in: Page, model: Json, tmp_path: Path
) -> None:
    """A log that grows stays where the user has scrolled to, and follows again from its end."""
    gate = tmp_path / "gate"
    write(model["folder"], {"cdsw-build.sh": f"seq 500\n{_SCRIPT.format(gate=gate)}"})
    asked = {"file_path": "answer.py", "function_name": "answer"}
    build = gateway.client.post(f"{at(model)}/builds", asked)
    signed_in.goto(f"{at(model)}/builds/{build['id']}")
    log, follow = signed_in.get_by_role("log"), signed_in.get_by_label("Follow")
    expect(log.locator(".ansi-red")).to_be_visible()
    expect(follow).to_be_checked()
    log.evaluate("each => each.scrollTop = 0")
    expect(follow).not_to_be_checked()
    gate.touch()
    expect(log).to_contain_text("the last line")
    assert log.evaluate("each => each.scrollTop") == 0
    follow.check()
    assert log.evaluate("each => each.scrollTop") > 0


def test_redeploy_and_roll_back_lose_no_call(
    gateway: Gateway, signed_in: Page, model: Json
) -> None:
    """Re-deploy with other resources, and roll-back, by clicking: no call fails meanwhile."""
    builds = [gateway.build(model, "answer.py", "answer")]
    gateway.deploy(model, builds[0], cpu=0.5)
    write(model["folder"], {"answer.py": _code(2)})
    builds.append(gateway.build(model, "answer.py", "answer"))
    failed: list[object] = []
    answers: set[int] = set()
    stop = threading.Event()

    def call() -> None:
        while not stop.wait(0.01):
            reply = gateway.call(model, {})
            if reply.status == 200:
                answers.add(reply.body["response"])
            else:
                failed.append(reply)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        signed_in.goto(f"{at(model)}/builds/{builds[1]['id']}")
        signed_in.get_by_role("link", name="Deploy this Build").click()
        signed_in.get_by_label("CPU").fill("0.75")
        signed_in.get_by_label("Environment Variables").fill("MODE=x")
        signed_in.get_by_role("button", name="Deploy Model").click()
        _expect_served(signed_in, number=2, cpu="0.75")
        signed_in.get_by_role("button", name="Roll back to build 1").click()
        _expect_served(signed_in, number=3, cpu="0.5")
        signed_in.get_by_role("link", name="Re-deploy this Build").nth(1).click()
        expect(signed_in.get_by_label("Environment Variables")).to_have_value("MODE=x")
    finally:
        stop.set()
        caller.join()
    assert failed == []
    assert answers == {1, 2}


def _expect_served(page: Page, *, number: int, cpu: str) -> None:
    row = page.locator("tbody tr").first
    expect(row.get_by_role("cell").first).to_have_text(str(number))
    expect(row).to_contain_text("Deployed")
    expect(row).to_contain_text(cpu)

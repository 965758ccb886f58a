"""By clicking only: from a project with a template to a right answer in Test Model."""

import json
import secrets
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.chromium import Person
from tests.support.polling import until
from tests.support.served_gateway import Gateway, write

EXAMPLE = {"months": 3, "monthly_charge": 70.5, "support_calls": 4}


def test_model_from_template_to_answer(gateway: Gateway, signed_in: Page, person: Person) -> None:
    """The file and function are picked, the function is tried, deployed and tested, and nothing is
    written to the console."""
    page, said = signed_in, list[str]()
    page.on("console", lambda message: said.append(message.text))
    name = f"churn-{secrets.token_hex(4)}"
    project = gateway.client.post("/projects", {"name": name, "template": "churn"})
    path = f"/projects/{project['id']}"
    until(lambda: gateway.client.get(path)["creation_status"] == "success")
    gateway.client.put(f"{path}/collaborators/{person.name}", {"permission": "contributor"})
    page.goto(path)
    page.get_by_role("link", name="New Model").first.click()
    page.get_by_label("Name").fill("churn")
    page.get_by_label("File").select_option("risk.py")
    expect(page.get_by_label("Function").get_by_role("option", name="predict")).to_have_count(0)
    page.get_by_label("File").select_option("predict.py")
    page.get_by_label("Function").select_option("predict")
    expect(page.get_by_text("predict(args)")).to_be_visible()
    page.get_by_label("Example Input").fill(json.dumps(EXAMPLE))
    page.get_by_role("button", name="Try").click()
    answer = page.get_by_role("region", name="Answer")
    expect(answer).to_contain_text("0.779", timeout=60_000)
    expect(page.get_by_label("Name")).to_have_value("churn")
    page.get_by_role("button", name="Deploy Model").click()
    expect(page.get_by_text("1 of 1 replicas ready")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("200 success")).to_be_visible()
    expect(page.get_by_role("region", name="Response")).to_contain_text("0.779")
    page.get_by_text("Python", exact=True).click()
    expect(page.get_by_role("region", name="Sample Code: Python")).to_be_visible()
    expect(page.get_by_role("region", name="Sample Code: Shell")).to_be_hidden()
    assert said == []


def test_lines_of_a_try_are_shown_while_it_runs(
    gateway: Gateway, signed_in: Page, person: Person, tmp_path: Path
) -> None:
    """What a build script prints is there before the script ends, and the answer after."""
    gate = tmp_path / "gate"
    script = f"echo '<b>waiting</b>'\nwhile [ ! -e {gate} ]; do sleep 0.05; done\n"
    code = "def answer(args):\n    return 42\n"
    folder = write(tmp_path / "code", {"answer.py": code, "cdsw-build.sh": script})
    project = gateway.project(folder)
    path = f"/projects/{project['id']}"
    gateway.client.put(f"{path}/collaborators/{person.name}", {"permission": "contributor"})
    signed_in.goto(f"{path}/models/new")
    signed_in.get_by_role("button", name="Try").click()
    log = signed_in.get_by_role("log", name="Log of the try")
    expect(log).to_contain_text("<b>waiting</b>", timeout=30_000)
    expect(signed_in.get_by_role("region", name="Answer")).to_have_count(0)
    gate.touch()
    expect(signed_in.get_by_role("region", name="Answer")).to_contain_text("42", timeout=30_000)
    expect(log).to_have_count(0)

"""By clicking only: from a project with a template to a right answer in Test Model."""

import json
import secrets

from playwright.sync_api import Page, expect

from tests.support.chromium import Person
from tests.support.polling import until
from tests.support.served_gateway import Gateway

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

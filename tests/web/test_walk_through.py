"""The published procedures, from an empty install by clicking only: links, buttons, fields and
columns have the labels of the procedures."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.chromium import Complaints
from tests.support.served_gateway import Gateway, copy

_ADD_NUMBERS = """\
def add(args):
  result = args["a"] + args["b"]
  return result
"""


@pytest.fixture
def administrator(gateway: Gateway, page: Page, complaints: Complaints) -> Page:
    """A tab in which the administrator of a new install is signed in, as `predictd open` does."""
    page.goto(gateway.cli("open", "--print").out.strip())
    expect(page.get_by_role("banner")).to_contain_text("Site administrator")
    return page


def test_quickstart(administrator: Page) -> None:
    """Creating and Deploying a Model (QuickStart)."""
    page = administrator
    # 1. Create a new project.
    page.get_by_role("link", name="Projects", exact=True).click()
    page.get_by_role("link", name="New Project").first.click()
    page.get_by_label("Project Name").fill("Model Sample Project")
    page.get_by_role("radio", name="Private").check()
    page.get_by_role("radio", name="Blank").check()
    page.get_by_role("button", name="Create Project").click()
    # 3. Create a new file within the project called add_numbers.py.
    tab(page, "Files").click()
    page.get_by_text("New File", exact=True).click()
    page.get_by_role("textbox", name="Name", exact=True).fill("add_numbers.py")
    page.get_by_role("button", name="Create File").click()
    page.get_by_label("Text of add_numbers.py").fill(_ADD_NUMBERS)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved")
    # 5. Deploy the add function to a REST endpoint: Models > New Model.
    tab(page, "Overview").click()
    tab(page, "Models").click()
    page.get_by_role("link", name="New Model").first.click()
    expect(page.get_by_role("heading", name="Create a Model")).to_be_visible()
    page.get_by_label("Name").fill("Add Two Numbers")
    page.get_by_label("Description").fill(
        "This model takes two numbers as input and returns their sum."
    )
    page.get_by_label("File").select_option("add_numbers.py")
    page.get_by_label("Function").select_option("add")
    page.get_by_label("Example Input").fill('{"a": 3, "b": 5}')
    page.get_by_label("Example Output").fill("8")
    page.get_by_label("Comment").fill("Initial revision.")
    page.get_by_label("Replicas").fill("2")
    # 4. Before deploying the model, test it.
    page.get_by_role("button", name="Try").click()
    expect(page.get_by_text("equal to the Example Output")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("region", name="Answer")).to_have_text("8")
    page.get_by_role("button", name="Deploy Model").click()
    # 6. Click on the model to go to its Overview page. Click Builds to track realtime progress.
    page.get_by_role("navigation", name="Path").get_by_role("link", name="Models").click()
    page.get_by_role("link", name="Add Two Numbers").click()
    tab(page, "Builds").click()
    row = page.get_by_role("row", name="Initial revision.")
    for text in ("1", "add_numbers.py", "add", "Initial revision."):
        expect(row.get_by_role("cell", name=text, exact=True)).to_be_visible()
    expect(row).to_contain_text("Built", timeout=60_000)
    expect(page.get_by_text("Deployed", exact=True)).to_be_visible(timeout=60_000)
    # 7. Go back to the model Overview page and use the Test Model widget.
    tab(page, "Overview").click()
    expect(page.get_by_role("heading", name="Test Model")).to_be_visible()
    expect(page.get_by_label("a", exact=True)).to_have_value("3")
    page.get_by_role("link", name="JSON").click()
    expect(page.get_by_label("Input")).to_have_value('{\n  "a": 3,\n  "b": 5\n}')
    page.get_by_role("button", name="Test", exact=True).click()
    result = page.locator(".result")
    expect(result).to_contain_text("200 success")
    expect(result.get_by_role("region", name="Response")).to_have_text("8")
    expect(result).to_contain_text("Replica ID")


def tab(page: Page, name: str) -> Locator:
    """A tab of a project or a model."""
    tabs = page.get_by_role("navigation", name=re.compile("^Pages of the"))
    return tabs.get_by_role("link", name=name, exact=True)


@pytest.mark.index
def test_iris(administrator: Page) -> None:
    """Model Training and Deployment - Iris Dataset."""
    page = administrator
    # Create a Project.
    page.get_by_role("link", name="Projects", exact=True).click()
    page.get_by_role("link", name="New Project").first.click()
    expect(page.get_by_role("heading", name="Create a New Project")).to_be_visible()
    page.get_by_label("Project Name").fill("Iris Project")
    page.get_by_role("radio", name="Public").check()
    page.get_by_role("radio", name="Template").check()
    page.get_by_label("Template", exact=True).and_(page.get_by_role("combobox")).select_option(
        "Python"
    )
    page.get_by_role("button", name="Create Project").click()
    tab(page, "Files").click()
    for name in ("cdsw-build.sh", "fit.py", "predict.py"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    # Train the Model.
    tab(page, "Overview").click()
    tab(page, "Experiments").click()
    page.get_by_role("link", name="Run Experiment").first.click()
    expect(page.get_by_role("heading", name="Run New Experiment")).to_be_visible()
    page.get_by_label("Script").fill("fit.py")
    expect(page.get_by_label("Engine Kernel")).to_contain_text("Python 3")
    page.get_by_label("Engine Profile").select_option("1 vCPU / 2 GiB Memory")
    page.get_by_label("Comment").fill("Testing a run ..")
    page.get_by_role("button", name="Start Run").click()
    tab(page, "Experiments").click()
    page.get_by_role("link", name="Run-1").click()
    part(page, "Build").click()
    expect(page.get_by_role("log")).to_contain_text("scikit-learn", timeout=180_000)
    part(page, "Session").click()
    expect(page.get_by_role("log")).to_contain_text("r2 0.", timeout=180_000)
    part(page, "Overview").click()
    for fact in ("Script", "Arguments", "Comment", "Build Snapshot", "Created At", "Submitter"):
        expect(page.get_by_role("term").get_by_text(fact, exact=True)).to_be_visible()
    for metric in ("mean_sq_err", "r2"):
        expect(page.get_by_role("term").get_by_text(metric, exact=True)).to_be_visible()
    page.get_by_role("checkbox", name="model.pkl").check(timeout=60_000)
    page.get_by_role("button", name="Add to Project").click()
    expect(page.get_by_role("status")).to_contain_text("are in the project")
    tab(page, "Files").click()
    expect(page.get_by_role("link", name="model.pkl", exact=True)).to_be_visible()
    # Deploy the Model.
    tab(page, "Overview").click()
    tab(page, "Models").click()
    page.get_by_role("link", name="New Model").first.click()
    page.get_by_label("Name").fill("Predict Petal Width")
    page.get_by_label("Description").fill("Predicts petal width by petal length.")
    page.get_by_label("File").select_option("predict.py")
    page.get_by_label("Function").select_option("predict")
    page.get_by_label("Example Input").fill('{"petal_length": 5.4}')
    page.get_by_label("Example Output").fill('{"result": "value"}')
    expect(page.get_by_label("Kernel")).to_contain_text("Python 3")
    page.get_by_role("button", name="Deploy Model").click()
    page.get_by_role("navigation", name="Path").get_by_role("link", name="Models").click()
    page.get_by_role("link", name="Predict Petal Width").click()
    tab(page, "Builds").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("Built", timeout=180_000)
    expect(page.get_by_text("Deployed", exact=True)).to_be_visible(timeout=60_000)
    tab(page, "Monitoring").click()
    replicas = page.get_by_role("region", name="Replicas")
    expect(replicas.get_by_text("predict-petal-width-")).to_be_visible()
    tab(page, "Overview").click()
    expect(page.get_by_label("petal_length")).to_have_value("5.4")
    page.get_by_role("button", name="Test", exact=True).click()
    result = page.locator(".result")
    expect(result).to_contain_text("success")
    expect(result.get_by_role("region", name="Response")).to_have_text(re.compile(r"^1\.[89]\d+$"))


def part(page: Page, name: str) -> Locator:
    """A tab of an experiment."""
    parts = page.get_by_role("navigation", name="Parts of the experiment")
    return parts.get_by_role("link", name=name, exact=True)


def test_procedures_of_an_active_model(
    gateway: Gateway, administrator: Page, tmp_path: Path
) -> None:
    """Updating Active Models, Securing Models, Model Monitoring and Administration."""
    page = administrator
    model = gateway.model(gateway.project(copy("add", tmp_path / "sums")), "Sum")
    build = gateway.build(model, "add.py", "add", example={"a": 3, "b": 5})
    assert gateway.deploy(model, build)["status"] == "deployed"
    _open_model(page)
    # Deploy a New Build for a Model.
    page.get_by_role("link", name="Deploy New Build").click()
    page.get_by_label("Comment").fill("Second revision.")
    page.get_by_role("button", name="Deploy Model").click()
    expect(page.get_by_text("1 of 1 replicas ready, build 2")).to_be_visible(timeout=60_000)
    # Re-deploy an Existing Build.
    tab(page, "Deployments").click()
    page.get_by_role("row").filter(has_text="Stopped").get_by_role(
        "link", name="Re-deploy this Build"
    ).click()
    page.get_by_label("Replicas").fill("2")
    page.get_by_role("button", name="Deploy Model").click()
    expect(page.get_by_text("2 of 2 replicas ready, build 1")).to_be_visible(timeout=60_000)
    # Enabling Authentication.
    tab(page, "Settings").click()
    page.get_by_label("Enable Authentication").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_be_visible()
    # Generating a Model API Key.
    page.locator(".menu > summary").click()
    page.get_by_role("link", name="User Settings").click()
    expect(page.get_by_role("heading", name="User Settings")).to_be_visible()
    page.get_by_role("link", name="API Keys").click()
    page.get_by_label("Expires in").select_option("30 days")
    page.get_by_role("button", name="Create API keys").click()
    key = page.locator(".made pre").inner_text()
    _open_model(page)
    page.get_by_label("Model API Key", exact=True).fill(key)
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.locator(".result").get_by_role("region", name="Response")).to_have_text("8")
    # Managing Model API Keys.
    page.get_by_role("link", name="Admin", exact=True).click()
    expect(page.get_by_role("heading", name="Site Administration")).to_be_visible()
    _part_of_admin(page, "Users")
    page.get_by_role("main").get_by_role("link", name="admin", exact=True).click()
    expect(page.get_by_role("columnheader", name="Action")).to_be_visible()
    page.locator("summary", has_text="Delete all keys").click()
    page.get_by_role("button", name="Delete all keys").click()
    expect(page.get_by_role("cell", name=key[:8])).to_have_count(0)
    # Monitoring All Active Models.
    _part_of_admin(page, "Models")
    for total in ("Active Models", "Active Model Replicas", "Total Requested CPU"):
        expect(page.get_by_role("term").get_by_text(total, exact=True)).to_be_visible()
    expect(page.get_by_role("row", name="Sum")).to_contain_text("2 / 2")
    page.get_by_role("button", name="Stop Sum").click()
    expect(page.get_by_role("row", name="Sum")).to_have_count(0)
    # Deleting a Model.
    _open_model(page)
    tab(page, "Settings").click()
    page.locator("summary", has_text="Delete Model").click()
    page.get_by_label("Type").fill("Sum")
    page.get_by_role("button", name="Delete Model").click()
    expect(page.get_by_text("No models yet")).to_be_visible()
    # Disabling the Models Feature.
    page.get_by_role("link", name="Admin", exact=True).click()
    _part_of_admin(page, "Settings")
    expect(page.get_by_role("heading", name="Feature Flags")).to_be_visible()
    flag = page.get_by_label("Enable users to create models.")
    flag.uncheck()
    page.get_by_role("button", name="Save users_may_create_models").click()
    expect(flag).not_to_be_checked()
    flag.check()
    page.get_by_role("button", name="Save users_may_create_models").click()
    expect(flag).to_be_checked()


def _open_model(page: Page) -> None:
    """By the links of the procedures: the project, its Models, the model."""
    page.get_by_role("link", name="Projects", exact=True).first.click()
    page.get_by_role("link", name="sums", exact=True).click()
    tab(page, "Models").click()
    page.get_by_role("link", name="Sum", exact=True).click()


def _part_of_admin(page: Page, name: str) -> None:
    parts = page.get_by_role("navigation", name="Pages of the administration")
    parts.get_by_role("link", name=name, exact=True).click()

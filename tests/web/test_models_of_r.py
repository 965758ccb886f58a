"""By clicking only: a function of R from a new file to a right answer, and an experiment with its
plot."""

import pytest
from playwright.sync_api import Page, expect

from tests.support.chromium import Complaints
from tests.support.r import r_prefix
from tests.support.served_gateway import Gateway

ADD = """\
# Adds two numbers.
add <- function(args) {
  result <- args$a + args$b
  return(result)
}
"""


@pytest.fixture
def administrator(gateway: Gateway, page: Page, complaints: Complaints) -> Page:
    r_prefix()
    page.goto(gateway.cli("open", "--print").out.strip())
    return page


def test_quickstart_in_r(administrator: Page) -> None:
    """Creating and Deploying a Model (QuickStart), with a file of R: nothing else differs."""
    page = administrator
    page.goto("/projects/new")
    page.get_by_label("Project Name").fill("R Sample Project")
    page.get_by_role("radio", name="Blank").check()
    page.get_by_role("button", name="Create Project").click()
    tab(page, "Files")
    page.get_by_text("New File", exact=True).click()
    page.get_by_role("textbox", name="Name", exact=True).fill("add_numbers.R")
    page.get_by_role("button", name="Create File").click()
    page.get_by_label("Text of add_numbers.R").fill(ADD)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved")
    tab(page, "Models")
    page.get_by_role("link", name="New Model").first.click()
    page.get_by_label("Name").fill("Add in R")
    page.get_by_label("File").select_option("add_numbers.R")
    page.get_by_label("Function").select_option("add")
    expect(page.get_by_text("Adds two numbers.")).to_be_visible()
    page.get_by_label("Example Input").fill('{"a": 3, "b": 5}')
    page.get_by_role("button", name="Deploy Model").click()
    expect(page.get_by_text("1 of 1 replicas ready")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("200 success")).to_be_visible()
    expect(page.get_by_role("region", name="Response")).to_have_text("8")
    page.get_by_text("R", exact=True).click()
    expect(page.get_by_role("region", name="Sample Code: R", exact=True)).to_contain_text("httr2")
    tab(page, "Builds")
    expect(page.get_by_role("row", name="add_numbers.R")).to_contain_text("r4")


def test_experiment_of_the_template_shows_its_plot(administrator: Page) -> None:
    """The template's script runs with the kernel that its ending picks; its plot is an image."""
    page = administrator
    page.goto("/projects/new")
    page.get_by_label("Project Name").fill("cars")
    page.get_by_role("radio", name="Template").check()
    page.locator("select[name=template]").select_option("r")
    page.get_by_role("button", name="Create Project").click()
    tab(page, "Experiments")
    page.get_by_role("link", name="Run Experiment").first.click()
    page.get_by_label("Script").fill("fit.R")
    page.get_by_label("Arguments").fill("0.3")
    page.get_by_role("button", name="Start Run").click()
    expect(page.get_by_text("Rplot001.png")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("r2", exact=True).first).to_be_visible()
    page.get_by_role("link", name="Rplot001.png").first.click()
    expect(page.locator("img").last).to_be_visible()


def tab(page: Page, name: str) -> None:
    page.locator(".tabs").get_by_role("link", name=name, exact=True).click()

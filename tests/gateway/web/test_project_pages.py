"""The pages of projects over HTTP: what forms send to the API, and what they show when it refuses.

Each test has a gateway user of its own on the shared gateway.
"""

from pathlib import Path

from tests.support.browsers import Browser, fresh_name
from tests.support.gateway import Gateway


async def test_project_is_created_from_a_template(shared: Gateway, browser: Browser) -> None:
    """The form creates a project with what it says, and leads to the project's page."""
    name = fresh_name()
    path = await browser.created(name=name, description="<b>two</b>", visibility="public")
    project = await shared.get(path)
    assert (project["name"], project["visibility"], project["template"]) == (
        name,
        "public",
        "python",
    )
    page = (await browser.get(path)).text
    assert "&lt;b&gt;two&lt;/b&gt;" in page
    assert ">predict.py</a>" in page
    assert "No models yet" in page
    assert ">New Model</a>" in page


async def test_refused_project_keeps_what_was_typed(browser: Browser) -> None:
    """The error of a field is beside it, and the other fields keep what was typed."""
    answer = await browser.post("/projects/new", name="a/b", description="kept", setup="git")
    assert answer.status_code == 400
    assert 'id="git_url-error"' in answer.text
    answer = await browser.post("/projects/new", name="a/b", description="kept", setup="blank")
    assert answer.status_code == 400
    assert 'id="name-error"' in answer.text
    assert 'value="kept"' in answer.text


async def test_name_that_is_taken_is_an_error_of_the_name(browser: Browser) -> None:
    """A second project of the same name is refused beside the name."""
    name = fresh_name()
    await browser.created(name=name)
    answer = await browser.post("/projects/new", name=name, setup="blank")
    assert answer.status_code == 409
    assert 'id="name-error"' in answer.text


async def test_only_administrators_link_a_folder(
    shared: Gateway, browser: Browser, administrator: Browser, tmp_path: Path
) -> None:
    """The setup `Local` is offered to administrators only, and refused to others."""
    (tmp_path / "predict.py").write_text("def predict(args): return args\n")
    assert 'id="setup-local"' not in (await browser.get("/projects/new")).text
    assert 'id="setup-local"' in (await administrator.get("/projects/new")).text
    form = {"name": fresh_name(), "setup": "local", "path": str(tmp_path)}
    assert (await browser.post("/projects/new", **form)).status_code == 403
    path = await administrator.created(**form)
    assert (await shared.get(path))["path"] == str(tmp_path)
    assert str(tmp_path) in (await administrator.get(path)).text


async def test_failed_copy_of_a_repository_says_why(
    administrator: Browser, shared: Gateway
) -> None:
    """The page of a project whose repository cannot be copied shows the reason."""
    path = await administrator.created(setup="git", git_url="http://127.0.0.1:9/none.git")
    await shared.until(path, lambda project: project["creation_status"] == "failure")
    page = (await administrator.get(path)).text
    assert "The project has no files" in page


async def test_models_of_a_project(shared: Gateway, browser: Browser) -> None:
    """The tab Models has a row for each model of the project, filtered by the query."""
    path = await browser.created()
    assert "No models yet" in (await browser.get(f"{path}/models")).text
    await shared.post(f"{path}/models", {"name": "one"})
    await shared.post(f"{path}/models", {"name": "two<i>"})
    page = (await browser.get(f"{path}/models")).text
    assert ">one</a>" in page
    assert "two&lt;i&gt;</a>" in page
    assert ">one</a>" not in (await browser.get(f"{path}/models?filter=two")).text


async def test_private_project_is_not_found_by_others(shared: Gateway, browser: Browser) -> None:
    """Pages of a project that a user may not view are not found."""
    project = await shared.post("/projects", {"name": fresh_name(), "template": "blank"})
    try:
        for tab in ("", "/models"):
            answer = await browser.get(f"/projects/{project['id']}{tab}")
            assert answer.status_code == 404, tab
    finally:
        await shared.delete(f"/projects/{project['id']}")

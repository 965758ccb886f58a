"""The settings and the collaborators of a project over HTTP."""

from tests.support.browsers import Browser, browser_of, fresh_name
from tests.support.gateway import Gateway


async def test_settings_are_changed(shared: Gateway, browser: Browser) -> None:
    """The form changes the project; a refused name is an error beside it."""
    path = await browser.created()
    form = {"name": fresh_name(), "description": "new", "visibility": "public"}
    assert (await browser.post(f"{path}/settings", **form)).status_code == 303
    project = await shared.get(path)
    assert {name: project[name] for name in form} == form
    answer = await browser.post(f"{path}/settings", name="a/b", description="typed")
    assert answer.status_code == 400
    assert 'id="name-error"' in answer.text
    assert 'value="typed"' in answer.text


async def test_variables_are_set_and_secrets_never_shown(shared: Gateway, browser: Browser) -> None:
    """A variable is shown with its value, a secret by its name only; both can be removed."""
    path = await browser.created()
    await browser.post(f"{path}/settings/variables", variable="REGION", value="eu<1>")
    await browser.post(f"{path}/settings/variables", variable="TOKEN", value="hush", secret="on")
    page = (await browser.get(f"{path}/settings")).text
    assert "eu&lt;1&gt;" in page
    assert "TOKEN" in page
    assert "hush" not in page
    await browser.post(f"{path}/settings/variables", variable="TOKEN", remove="on")
    listed = (await shared.get(f"{path}/variables"))["variables"]
    assert [each["name"] for each in listed] == ["REGION"]


async def test_project_is_deleted_by_its_name_only(shared: Gateway, browser: Browser) -> None:
    """A project is deleted if its name was typed, and stays otherwise."""
    name = fresh_name()
    path = await browser.created(name=name)
    assert (await browser.post(f"{path}/settings/delete", confirmed="x")).status_code == 400
    assert (await browser.get(path)).status_code == 200
    answer = await browser.post(f"{path}/settings/delete", confirmed=name)
    assert answer.headers["location"] == "/projects?done=deleted"
    assert (await browser.get(path)).status_code == 404


async def test_collaborators_are_added_and_removed(shared: Gateway, browser: Browser) -> None:
    """A user gets a role, another role, and none; settings are for admins of the project."""
    path = await browser.created()
    team = f"{path}/collaborators"
    async with browser_of(shared) as other:
        assert (await other.get(path)).status_code == 404
        for role in ("viewer", "contributor"):
            await browser.post(team, username=other.name, permission=role)
            listed = (await shared.get(team))["collaborators"]
            assert {"username": other.name, "name": "", "permission": role} in listed
        assert (await other.get(team)).status_code == 200
        assert "Add Collaborator" not in (await other.get(team)).text
        assert (await other.get(f"{path}/settings")).status_code == 403
        form = {"username": other.name, "permission": "admin"}
        assert (await other.post(team, **form)).status_code == 403
        await browser.post(f"{team}/remove", username=other.name)
        assert (await other.get(path)).status_code == 404
    assert (await browser.post(team, username="none", permission="viewer")).status_code == 404

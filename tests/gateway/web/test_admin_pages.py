"""The pages of /admin over HTTP: who may see them, and what their forms do."""

import csv
import io
import re
import secrets

import pytest

from gateway.web.csrf import TOKEN_FIELD
from gateway.web.routing import Page
from gateway.web.site import PAGES
from tests.gateway.conftest import Samples
from tests.support.browsers import OURS, Browser
from tests.support.gateway import Gateway, until

ADMIN_PAGES = [page for page in PAGES if page.path.startswith("/admin")]


@pytest.mark.parametrize("page", ADMIN_PAGES, ids=lambda page: f"{page.method} {page.path}")
async def test_user_without_the_right_gets_nothing_of_admin(
    shared: Gateway, browser: Browser, page: Page
) -> None:
    """Every page and form of /admin is refused to a user who is not an administrator."""
    path = page.path.replace("<username>", browser.name)
    path = re.sub("<.*?>", "x", path)
    form = {TOKEN_FIELD: browser.token} if page.method == "POST" else {}
    answer = await browser.client.request(page.method, path, data=form, headers=OURS)
    assert answer.status_code == 403
    assert "auth.forbidden" in answer.text
    if page.method == "POST":
        (entry,) = (await shared.get("/audit", who=browser.name, action=page.audit))["entries"]
        assert entry["outcome"] == "auth.forbidden"


async def test_menu_offers_admin_to_administrators_only(
    browser: Browser, administrator: Browser
) -> None:
    """The menu has a link to /admin for an administrator, and no other user."""
    assert 'href="/admin"' not in (await browser.get("/projects")).text
    assert 'href="/admin"' in (await administrator.get("/projects")).text


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/admin", "Active Model Replicas"),
        ("/admin/models", "Total Requested Memory"),
        ("/admin/security", "Limits by the kernel"),
        ("/admin/settings", "Enable users to create models."),
        ("/admin/runtimes", "Make default"),
    ],
)
async def test_pages_of_admin(administrator: Browser, path: str, shown: str) -> None:
    """Each page of the administration shows what it is for."""
    answer = await administrator.get(path)
    assert answer.status_code == 200, answer.text
    if path != "/admin/runtimes":
        assert shown in answer.text
    for form in re.findall(r'<form[^>]* method="post".*?</form>', answer.text, re.DOTALL):
        assert administrator.token in form


async def test_administrator_manages_users(shared: Gateway, administrator: Browser) -> None:
    """An administrator adds a user, disables them, sets a password, and deletes keys and user."""
    name = f"made-{secrets.token_hex(4)}"
    base = f"/admin/users/{name}"
    page = (await administrator.post("/admin/users", username=name)).text
    assert f"The password of {name}" in page
    again = await administrator.post("/admin/users", username=name, email="kept@example.org")
    assert again.status_code == 409
    assert "kept@example.org" in again.text
    assert name in (await administrator.get(f"/admin/users?filter={name}")).text

    key = await shared.post(f"/users/{name}/model_keys", {"comment": "theirs"})
    assert "theirs" in (await administrator.get(base)).text
    answer = await administrator.post(f"{base}/keys/model_keys/{key['key_id']}/delete")
    assert answer.headers["location"] == f"{base}?done=key"
    await shared.post(f"/users/{name}/model_keys")
    await administrator.post(f"{base}/keys/delete")
    assert (await shared.get(f"/users/{name}/model_keys"))["model_keys"] == []

    await administrator.post(base, name="A name", email="", disabled="on")
    changed = await shared.get(f"/users/{name}")
    assert (changed["name"], changed["disabled"], changed["administrator"]) == (
        "A name",
        True,
        False,
    )
    assert (await administrator.post(f"{base}/password")).status_code == 400
    assert (
        await administrator.post(f"{base}/password", password="correct horse battery")
    ).status_code == 303
    assert (await administrator.post(f"{base}/delete", confirmed="another")).status_code == 400
    assert (await administrator.post(f"{base}/delete", confirmed=name)).status_code == 303
    assert (await administrator.get(base)).status_code == 404
    entries = (await shared.get("/audit", who=administrator.name))["entries"]
    assert [(each["action"], each["outcome"]) for each in entries] == [
        ("sign_in", "done"),
        ("user.create", "done"),
        ("user.create", "name.taken"),
        ("key.revoke", "done"),
        ("key.revoke_all", "done"),
        ("user.update", "done"),
        ("user.set_password", "argument.invalid"),
        ("user.set_password", "done"),
        ("user.delete", "argument.invalid"),
        ("user.delete", "done"),
    ]


async def test_error_of_a_new_user_is_beside_its_field(administrator: Browser) -> None:
    """What is wrong with a name or a password is at its field, and what was typed stays."""
    for field, value in (("username", "not a name!"), ("password", "short")):
        form = {"username": "fresh", "email": "kept@example.org", field: value}
        page = (await administrator.post("/admin/users", **form)).text
        assert re.search(f'id="{field}-error">Give ', page)
        assert "kept@example.org" in page


async def test_administrator_changes_settings(shared: Gateway, administrator: Browser) -> None:
    """A setting that can change is changed and reset; a wrong value stays in its field."""
    path = "/admin/settings/max_replicas"
    saved = await administrator.post(path, value="7")
    row = (await administrator.get(saved.headers["location"])).text.partition('id="max_replicas"')
    assert "The setting is changed." in row[2].partition("</tr>")[0]
    assert "The setting is changed." not in row[0]
    assert (await shared.get("/site"))["max_replicas"] == 7
    wrong = await administrator.post(path, value="many")
    assert wrong.status_code == 400
    assert re.search(r'value="many"[^>]* autofocus>', wrong.text)  # it is far below
    assert (await administrator.post(f"{path}/reset")).status_code == 303
    assert (await shared.get("/site"))["max_replicas"] != 7
    flag = "/admin/settings/users_may_create_projects"
    await administrator.post(flag, switch="on")
    assert not _setting(await shared.get("/site/settings"), "users_may_create_projects")
    await administrator.post(f"{flag}/reset")
    fixed = await administrator.post("/admin/settings/data", value="/elsewhere")
    assert fixed.status_code == 409


def _setting(answer: dict[str, object], name: str) -> object:
    found = answer["settings"]
    assert isinstance(found, list)
    return next(each["value"] for each in found if each["name"] == name)


async def test_activity_is_filtered_and_exported(shared: Gateway, administrator: Browser) -> None:
    """The audit log is filtered on the page and in a file, where no text is a formula."""
    await shared.admin.post("/users", json={"username": "=1+1"})
    page = (await administrator.get(f"/admin/activity?who={administrator.name}")).text
    assert page.count('id="entry-') == 1
    export = f"/admin/activity/export?who={administrator.name}"
    (entry,) = (await administrator.get(f"{export}&format=json")).json()
    assert (entry["action"], entry["who"]) == ("sign_in", administrator.name)
    answer = await administrator.get("/admin/activity/export?format=csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="activity.csv"'
    head, *rows = csv.reader(io.StringIO(answer.text))
    assert head[:4] == ["number", "created_at", "who", "address"]
    assert rows
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]
    wrong = await administrator.get("/admin/activity?since=yesterday")
    assert wrong.status_code == 400
    assert "since" in wrong.text


async def test_active_models_can_be_restarted(
    shared: Gateway, administrator: Browser, samples: Samples
) -> None:
    """The page of active models restarts one; a model that is gone is an error page."""
    models = (await shared.get("/site/models", page_size=100))["models"]
    add = next(each for each in models if each["name"] == "add")
    base = f"/admin/models/{add['project']['id']}/{add['id']}"
    assert f'action="{base}/rebuild"' in (await administrator.get("/admin/models")).text
    answer = await administrator.post(f"{base}/restart")
    assert answer.headers["location"] == "/admin/models?done=restarted"
    gone = await administrator.post(f"/admin/models/{add['project']['id']}/none/stop")
    assert gone.status_code == 404
    replicas = f"/projects/{add['project']['id']}/models/{add['id']}/replicas"
    await shared.until(replicas, lambda now: not now["restarting"])


async def test_sessions_are_listed_and_ended(shared: Gateway, browser: Browser) -> None:
    """A user lists their sessions over the API, and ends another one at once."""
    path = f"/users/{browser.name}/sessions"
    (session,) = (await browser.client.get(f"/api/v2{path}")).json()["sessions"]
    assert session["current"] is True
    (seen,) = (await shared.get(path))["sessions"]
    assert seen["current"] is False
    await shared.delete(f"{path}/{session['session_id']}")
    assert (await browser.get("/projects")).status_code == 303
    assert (await shared.admin.delete(f"{path}/{session['session_id']}")).status_code == 404


async def test_user_ends_sessions_on_a_page(shared: Gateway, browser: Browser) -> None:
    """The page of sessions ends one of them, which is audited, and no session of another user."""
    (session,) = (await shared.get(f"/users/{browser.name}/sessions"))["sessions"]
    assert "this browser" in (await browser.get("/settings/sessions")).text
    assert (await browser.post("/settings/sessions/none/end")).status_code == 404
    answer = await browser.post(f"/settings/sessions/{session['session_id']}/end")
    assert answer.headers["location"] == "/sign-in"
    assert (await browser.get("/settings/sessions")).status_code == 303
    entries = (await shared.get("/audit", who=browser.name, action="user.end"))["entries"]
    assert [each["outcome"] for each in entries] == ["session.notfound", "done"]


async def test_page_shows_findings(shared: Gateway, administrator: Browser) -> None:
    """The page of administrators has what the real command finds here; programs get the same."""
    await administrator.get("/admin/security")
    state = await until(
        lambda: shared.get("/site/findings"), lambda found: not found["checking"], pause=0.1
    )
    assert {"git", "isolation", "disk", "gateway"} <= {each["name"] for each in state["findings"]}
    page = (await administrator.get("/admin/security")).text
    assert page.count('id="finding-') == len(state["findings"])
    assert (await administrator.post("/admin/security/check")).status_code == 303
    assert (await shared.get("/site/findings"))["checking"]

"""The pages over HTTP: who may see each, what forms accept, the headers of every answer."""

import re
import secrets
import ssl
from pathlib import Path

import httpx
import pytest

from gateway.settings import Settings
from gateway.web.csrf import TOKEN_FIELD, TOKEN_HEADER, form_token
from gateway.web.routing import Page
from gateway.web.site import PAGES
from tests.gateway.conftest import Samples
from tests.support.browsers import COOKIE, OURS, Browser, sign_in
from tests.support.gateway import PATIENCE, Gateway, refusal, running, settings_for


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.method} {page.path}")
async def test_page_without_session_leads_to_sign_in(shared: Gateway, page: Page) -> None:
    """Every page that is not for everybody leads to the sign-in page, and says nothing else."""
    path = re.sub("<.*?>", "x", page.path)
    answer = await shared.models.request(page.method, path, headers=OURS)
    if page.public:
        assert answer.status_code in (200, 401)
        return
    assert answer.status_code == 303
    assert answer.headers["location"].partition("?")[0] == "/sign-in"
    assert answer.content == b""


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.method == "POST"], ids=lambda page: page.path
)
async def test_what_changes_something_comes_from_our_pages(
    shared: Gateway, browser: Browser, page: Page
) -> None:
    """Every form is refused from another origin, and in a session without its token."""
    path = re.sub("<.*?>", "x", page.path)
    form = {TOKEN_FIELD: browser.token, "kind": "api", "expires": "never"}
    for headers in ({"Sec-Fetch-Site": "same-site"}, {"Origin": "http://elsewhere.example"}):
        answer = await browser.client.post(path, data=form, headers=headers)
        assert refusal(answer) == (403, "auth.csrf")
    if not page.public:
        for token in ("", form_token("another"), browser.client.cookies[COOKIE]):
            answer = await browser.client.post(path, data=form | {TOKEN_FIELD: token}, headers=OURS)
            assert answer.status_code == 403
            assert "auth.csrf" in answer.text
    assert (await browser.get("/settings/keys")).status_code == 200
    assert "You have no keys yet" in (await browser.get("/settings/keys")).text


async def test_change_by_page_is_audited(shared: Gateway, browser: Browser) -> None:
    """Each change by a page, and each refused one, is in the audit log."""
    await browser.post("/settings/keys", kind="model", expires="never", comment="hidden")
    (key,) = (await shared.get(f"/users/{browser.name}/model_keys"))["model_keys"]
    place = f"/users/{browser.name}/model_keys/{key['key_id']}"
    await browser.post(f"/settings/keys/{key['key_id']}/revoke", **{TOKEN_FIELD: "another"})
    await browser.post(f"/settings/keys/{key['key_id']}/revoke")
    await browser.post("/settings/password", old="wrong", new="x", again="x")
    await browser.post("/sign-out")
    entries = (await shared.get("/audit", who=browser.name))["entries"]
    assert [(each["action"], each["object"], each["outcome"]) for each in entries] == [
        ("sign_in", f"/users/{browser.name}", "done"),
        ("key.create", place, "done"),
        ("key.revoke", f"/settings/keys/{key['key_id']}/revoke", "auth.csrf"),
        ("key.revoke", place, "done"),
        ("user.change_password", f"/users/{browser.name}", "auth.refused"),
        ("sign_out", f"/users/{browser.name}", "done"),
    ]
    assert "hidden" not in str(entries)


def test_every_form_names_its_action() -> None:
    """What changes something has an action in the audit log, and nothing else has."""
    for page in PAGES:
        assert bool(page.audit) == (page.method == "POST"), page.path


async def test_the_admin_api_in_a_session(shared: Gateway, browser: Browser) -> None:
    """A session may look, and changes something with the token only; a key needs none."""
    path = f"/api/v2/users/{browser.name}/model_keys"
    assert (await browser.client.get(path)).status_code == 200
    for headers in (
        {},
        {TOKEN_HEADER: form_token("another")},
        {TOKEN_HEADER: browser.token, "Origin": "http://elsewhere.example"},
        {TOKEN_HEADER: browser.token, "Sec-Fetch-Site": "same-site"},
    ):
        answer = await browser.client.post(path, json={}, headers=headers)
        assert refusal(answer) == (403, "auth.csrf")
    answer = await browser.client.post(path, json={}, headers={TOKEN_HEADER: browser.token})
    assert answer.status_code == 200
    assert (await shared.post(f"/users/{browser.name}/model_keys"))["api_key"]


async def test_a_session_calls_no_model(
    shared: Gateway, browser: Browser, samples: Samples
) -> None:
    """A cookie is no key: to calls of models, which any site may send, it means nothing."""
    wish = {"name": f"closed-{secrets.token_hex(4)}", "template": "blank"}
    project = await shared.post("/projects", wish)
    model = await shared.post(f"/projects/{project['id']}/models", {"name": "closed"})
    body = {"accessKey": model["access_key"], "request": {}}
    answer = await browser.client.post("/model", json=body)
    assert refusal(answer) == (401, "model.unauthorized")
    await shared.delete(f"/projects/{project['id']}")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/sign-in"),
        ("GET", "/"),
        ("GET", "/nothing"),
        ("POST", "/livez"),
        ("GET", "/healthz"),
        ("GET", "/openapi.json"),
        ("GET", "/api/v2/projects"),
        ("GET", "/static/predictd.css"),
    ],
)
async def test_every_reply_but_to_models_is_protected(
    shared: Gateway, method: str, path: str
) -> None:
    """Every response has security headers."""
    for client in (shared.models, shared.admin):
        answer = await client.request(method, f"{shared.url}{path}", headers=OURS)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


async def test_calls_of_models_carry_none_of_it(shared: Gateway, samples: Samples) -> None:
    """Callers of models get what they always got: no header more."""
    for answer in (
        await shared.call(samples.add, {"a": 1, "b": 1}),
        await shared.models.get("/model", headers=OURS),
    ):
        assert "content-security-policy" not in answer.headers
        assert "cache-control" not in answer.headers
        assert answer.headers["content-type"].startswith("application/json")


async def test_files_are_kept_under_the_name_of_their_content(shared: Gateway) -> None:
    """A file under its present hash may be kept for good; there are no others."""
    page = (await shared.models.get("/sign-in")).text
    (path,) = re.findall(r'href="(/static/predictd.css\?v=\w+)"', page)
    answer = await shared.models.get(path)
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]
    for other in ("/static/", "/static/..%2fwebsite.py", "/static/%2e%2e/website.py", "/static/x"):
        assert refusal(await shared.models.get(other)) == (404, "route.notfound")


async def test_a_form_is_small(shared: Gateway) -> None:
    """Who is not signed in cannot make the gateway read much."""
    form = {"name": "x" * 100_000, "password": "x"}
    answer = await shared.models.post("/sign-in", data=form)
    assert refusal(answer) == (413, "request.toolarge")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"name": "x"}', "application/json"),
        (b"\xff\xfe=%ff&name=%00", "application/x-www-form-urlencoded"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"x", "multipart/form-data"),
        (b"", ""),
    ],
)
async def test_body_that_is_no_form_is_refused(
    shared: Gateway, content: bytes, content_type: str
) -> None:
    """A body that is not a form signs no user in, and causes no internal error."""
    answer = await shared.models.post(
        "/sign-in", content=content, headers={"Content-Type": content_type, **OURS}
    )
    assert answer.status_code in (400, 401)
    assert "set-cookie" not in answer.headers


async def test_sign_in_redirects_to_own_pages_only(shared: Gateway, browser: Browser) -> None:
    """`next` is a page of this gateway, also if a link has another one."""
    for wanted in ("//evil.example", "https://evil.example/", "/\\evil.example"):
        page = (await shared.models.get("/sign-in", params={"next": wanted}, headers=OURS)).text
        assert 'name="next" value="/"' in page
        form = {"name": "unknown", "password": "x", "next": wanted}
        assert "evil" not in (await shared.models.post("/sign-in", data=form, headers=OURS)).text


async def test_a_form_that_is_sent_again_makes_no_second_key(
    shared: Gateway, browser: Browser
) -> None:
    """The page that shows a new key makes no other when it is loaded again."""
    page = (await browser.get("/settings/keys")).text
    (once,) = re.findall('name="once" value="([0-9a-f]{16})"', page)
    form = {"kind": "model", "expires": "1 day", "once": once}
    assert "Your new key" in (await browser.post("/settings/keys", **form)).text
    again = (await browser.post("/settings/keys", **form)).text
    assert "Your new key" not in again
    assert "his form was sent before" in again
    listed = await shared.get(f"/users/{browser.name}/model_keys")
    (key,) = next(value for value in listed.values() if isinstance(value, list))
    answer = await browser.post(f"/settings/keys/{key['key_id']}/revoke")
    place = answer.headers["location"]
    assert f"The key {key['key_id'][:8]}… is revoked" in (await browser.get(place)).text
    assert "is revoked" not in (await browser.get("/settings/keys?revoked=<b>")).text


async def test_a_whole_link_can_be_pasted(shared: Gateway) -> None:
    """The form of /open takes the token, and the link that has it."""
    async with httpx.AsyncClient(base_url=shared.url, timeout=PATIENCE) as client:
        link = f"{shared.url}/open#{(await shared.post('/site/links'))['token']}"
        assert (await client.post("/open", data={"token": link}, headers=OURS)).status_code == 303


async def test_user_revokes_own_keys_only(shared: Gateway, browser: Browser) -> None:
    """Another user's key cannot be revoked by a form with its id."""
    key = await shared.post("/users/admin/model_keys")
    answer = await browser.post(f"/settings/keys/{key['key_id']}/revoke")
    assert answer.status_code == 404
    assert key["key_id"] in (await shared.admin.get("/users/admin/model_keys")).text
    await shared.delete(f"/users/admin/model_keys/{key['key_id']}")


async def test_a_password_that_was_made(shared: Gateway) -> None:
    """Whose password was made for them has to choose one first, for a page and for an API key."""
    name = f"user-{secrets.token_hex(4)}"
    made = (await shared.post("/users", {"username": name}))["password"]
    async with httpx.AsyncClient(base_url=shared.url, timeout=PATIENCE) as client:
        await sign_in(client, name, made)
        assert (await client.get("/settings/keys")).headers["location"] == "/settings/password"
        for path in ("/projects", f"/users/{name}/v2_keys"):
            assert refusal(await client.get(f"/api/v2{path}")) == (403, "auth.password")
    await shared.delete(f"/users/{name}")


async def test_by_a_link_no_password_is_asked_for(shared: Gateway) -> None:
    """Who comes by a link, which only the holder of the data folder makes, chooses none."""
    async with httpx.AsyncClient(base_url=shared.url, timeout=PATIENCE) as client:
        link = (await shared.post("/site/links"))["token"]
        await client.post("/open", data={"token": link}, headers=OURS)
        assert (await client.get("/settings/keys")).status_code == 200
        assert (await client.get("/api/v2/projects")).status_code == 200
        refused = await client.post("/api/v2/site/links", headers={"X-CSRF-Token": "none"})
        assert refused.status_code == 403
    await shared.post("/users", {"username": "linker"})
    key = (await shared.post("/users/linker/v2_keys"))["api_key"]
    bearer = {"Authorization": f"Bearer {key}"}
    answer = await shared.models.post("/api/v2/site/links", headers=bearer)
    assert refusal(answer) == (403, "auth.forbidden")
    await shared.delete("/users/linker")


async def test_user_without_password_chooses_one(shared: Gateway, browser: Browser) -> None:
    """By a one-time link one comes in without a password, and may choose one without an old one;
    who was signed in with this browser is not any more."""
    before = {"Cookie": f"{COOKIE}={browser.client.cookies[COOKIE]}"}
    token = (await shared.post("/site/links"))["token"]
    answer = await browser.client.post("/open", data={"token": token}, headers=OURS)
    assert answer.headers["location"] == "/"
    page = (await browser.get("/settings/password")).text
    assert "Choose a password" in page
    assert 'name="old"' not in page
    browser.client.cookies.clear()
    assert (await browser.client.get("/settings/keys", headers=before)).status_code == 303


async def test_sign_in_attempts_are_throttled(shared: Gateway) -> None:
    """Who guesses is told how long to wait, on the page and in a header."""
    for _ in range(8):
        answer = await sign_in(shared.models, "guessed", "wrong")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert "Too many" in answer.text


async def test_with_tls_the_cookie_is_this_host_s(tmp_path: Path, certified: Settings) -> None:
    """With TLS the session is in a cookie that no neighbour can set and that never goes without."""
    untrusting = ssl.create_default_context()
    untrusting.check_hostname = False
    untrusting.verify_mode = ssl.CERT_NONE
    settings = settings_for(tmp_path / "data", certified)
    async with running(settings, untrusting) as gateway:
        await gateway.post("/users", {"username": "ada", "password": "correct horse"})
        answer = await sign_in(gateway.models, "ada", "correct horse")
        cookie, device = answer.headers.get_list("set-cookie")
        assert device.startswith("__Host-predictd_device=")
        assert cookie.startswith(f"__Host-{COOKIE}=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        for host, said in (("models.test", "max-age=31536000"), ("localhost", None)):
            told = await gateway.models.get("/livez", headers={"Host": host})
            assert told.headers.get("Strict-Transport-Security") == said
        token = cookie.partition("=")[2].partition(";")[0]
        assert (await gateway.models.get("/settings/keys")).status_code == 200
        gateway.models.cookies.clear()
        plain = {"Cookie": f"{COOKIE}={token}"}
        assert (await gateway.models.get("/settings/keys", headers=plain)).status_code == 303


async def test_form_is_audited(shared: Gateway, browser: Browser) -> None:
    """What is done by a form, or refused, has one entry, named as the admin API names it."""
    for page in PAGES:
        assert bool(page.audit) == (page.method == "POST"), page.path
    made = await browser.post("/settings/keys", kind="model", expires="1 day")
    assert made.status_code == 200
    (key,) = (await shared.get(f"/users/{browser.name}/model_keys"))["model_keys"]
    place = f"/users/{browser.name}/model_keys/{key['key_id']}"
    await browser.post("/settings/keys", kind="none", expires="1 day")
    await browser.client.post("/settings/keys", data={}, headers={"Sec-Fetch-Site": "cross-site"})
    await browser.post(f"/settings/keys/{key['key_id']}/revoke")
    await browser.post(f"/settings/keys/{key['key_id']}/revoke")
    await browser.post("/sign-out")
    found = (await shared.get("/audit", who=browser.name))["entries"]
    assert [(e["action"], e["object"], e["outcome"]) for e in found] == [
        ("sign_in", f"/users/{browser.name}", "done"),
        ("key.create", place, "done"),
        ("key.create", "/settings/keys", "argument.invalid"),
        ("key.create", "/settings/keys", "auth.csrf"),
        ("key.revoke", place, "done"),
        ("key.revoke", f"/settings/keys/{key['key_id']}/revoke", "key.notfound"),
        ("sign_out", f"/users/{browser.name}", "done"),
    ]
    assert len({each["request_id"] for each in found}) == len(found)

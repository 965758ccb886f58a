"""The pages in a real browser: what a user sees, and what other sites' pages cannot do."""

import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

from gateway.client import ApiError, Client
from tests.faults.matrix import fault
from tests.support.chromium import BEYOND, HOME, Person, sign_in, sign_out
from tests.support.served_gateway import Gateway

COOKIE, DEVICE = "predictd_session", "predictd_device"
NewContext = Callable[[], BrowserContext]


def held(context: BrowserContext) -> str:
    """What the browser holds of the session."""
    return next((str(c["value"]) for c in context.cookies() if c["name"] == COOKIE), "")


def keys_of(gateway: Gateway, person: Person) -> int:
    kinds = ("v2_keys", "model_keys", "legacy_keys")
    paths = [f"/users/{person.name}/{kind}" for kind in kinds]
    return sum(len(gateway.client.listing(path)) for path in paths)


# Signing in and out.


def test_signing_in(signed_in: Page, person: Person) -> None:
    """Who signs in sees their models, and what the browser holds no script can read."""
    expect(signed_in.get_by_role("banner")).to_contain_text(person.name)
    cookies = {each["name"]: each for each in signed_in.context.cookies()}
    assert {name: each["sameSite"] for name, each in cookies.items()} == {
        COOKIE: "Lax",
        DEVICE: "Strict",
    }
    assert all(each["httpOnly"] for each in cookies.values())
    assert signed_in.evaluate("document.cookie") == ""


@pytest.mark.parametrize("known", [True, False])
def test_a_wrong_password(page: Page, person: Person, known: bool) -> None:
    """A wrong password and an unknown name get the same message, and sign no user in."""
    sign_in(page, Person(person.name if known else "unknown", "wrong"))
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("There is no such user, or that is not their password.")
    assert not page.context.cookies()


def test_one_comes_to_the_page_that_was_asked_for(page: Page, person: Person) -> None:
    """After signing in a user gets the page that they requested, on this gateway only."""
    page.goto("/settings/keys")
    expect(page).to_have_url(re.compile(r"/sign-in\?next=/settings/keys$"))
    page.get_by_label("Name").fill(person.name)
    page.get_by_label("Password").fill(person.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="User Settings", exact=True)).to_be_visible()


@fault(
    "a copied cookie",
    injection="used after the sign-out",
    bound="it opens nothing",
)
def test_signing_out(signed_in: Page, new_context: NewContext) -> None:
    """Signing out ends the session: the browser's old cookie gives no access any more. It keeps
    the cookie that says that a user has signed in with it."""
    kept = signed_in.context.cookies()
    sign_out(signed_in)
    expect(signed_in.get_by_role("heading", name="Sign in")).to_be_visible()
    assert [each["name"] for each in signed_in.context.cookies()] == [DEVICE]
    thief = new_context()
    thief.add_cookies(kept)  # type: ignore[arg-type]
    page = thief.new_page()
    page.goto("/settings/keys")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.request.get("/api/v2/whoami").status == 401


@fault(
    "a planted session",
    injection="a cookie from before the sign-in",
    bound="the session is another one",
)
def test_a_session_is_never_one_that_was_there_before(page: Page, person: Person) -> None:
    """A session that was planted in the browser is not the one that a sign-in starts."""
    planted = {"name": COOKIE, "value": "planted", "url": page.evaluate("location.href")}
    page.goto("/sign-in")
    planted["url"] = page.url
    page.context.add_cookies([planted])  # type: ignore[list-item]
    sign_in(page, person)
    expect(page.get_by_role("heading", name=HOME)).to_be_visible()
    assert held(page.context) not in ("", "planted")


# The one-time link.


def test_a_one_time_link_works_once(gateway: Gateway, page: Page, new_context: NewContext) -> None:
    """The link signs in, its token leaves the address, and it works only once."""
    link = gateway.cli("open", "--print").out.strip()
    page.goto(link)
    expect(page.get_by_role("heading", name=HOME)).to_be_visible()
    expect(page.get_by_role("banner")).to_contain_text("Site administrator")
    token = link.partition("#")[2]
    page.go_back()
    assert token not in page.url
    again = new_context().new_page()
    again.goto(link)
    expect(again.get_by_role("alert")).to_contain_text("used already")
    assert not again.context.cookies()


def test_the_file_that_open_makes_leads_in(gateway: Gateway, page: Page) -> None:
    """What `predictd open` gives a browser signs it in, and asks for no password."""
    done = gateway.cli("open", BROWSER="true %s")
    assert done.code == 0, done.err
    page.goto((gateway.data / "open.html").as_uri())
    expect(page.get_by_role("heading", name=HOME)).to_be_visible()


# Passwords and keys.


def test_a_password_that_was_made_has_to_be_changed(gateway: Gateway, page: Page) -> None:
    """Until a user has chosen a password, neither they nor their session can do anything else."""
    name = f"new-{secrets.token_hex(4)}"
    made = gateway.client.post("/users", {"username": name})["password"]
    sign_in(page, Person(name, made))
    for _ in range(2):
        expect(page.get_by_role("heading", name="Choose a password")).to_be_visible()
        page.goto("/settings/keys")
    assert page.request.get("/api/v2/projects").status == 403
    chosen = secrets.token_hex(8)
    page.get_by_label("Current password").fill(made)
    page.get_by_label("New password", exact=True).fill(chosen)
    page.get_by_label("New password, again").fill("something else")
    page.get_by_role("button", name="Change password").click()
    expect(page.locator("#again-error")).to_have_text("It differs from the new password.")
    page.get_by_label("Current password").fill(made)
    page.get_by_label("New password", exact=True).fill(chosen)
    page.get_by_label("New password, again").fill(chosen)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("heading", name=HOME)).to_be_visible()
    assert page.request.get("/api/v2/projects").status == 200


def test_a_changed_password_signs_other_browsers_out(
    signed_in: Page, new_context: NewContext, person: Person
) -> None:
    """Who changes their password stays signed in where they did it, and nowhere else."""
    elsewhere = new_context().new_page()
    sign_in(elsewhere, person)
    signed_in.goto("/settings/password")
    chosen = secrets.token_hex(8)
    signed_in.get_by_label("Current password").fill(person.password)
    signed_in.get_by_label("New password", exact=True).fill(chosen)
    signed_in.get_by_label("New password, again").fill(chosen)
    signed_in.get_by_role("button", name="Change password").click()
    expect(signed_in.get_by_role("status")).to_contain_text("has changed")
    elsewhere.goto("/settings/keys")
    expect(elsewhere.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_key_is_shown_once_and_revoked_at_once(gateway: Gateway, signed_in: Page) -> None:
    """A new key is there to copy, works, is not shown again, and is revoked after a question."""
    signed_in.goto("/settings/keys")
    signed_in.get_by_label("For").select_option("api")
    signed_in.get_by_label("Note").fill("<b>for the tests</b>")
    signed_in.get_by_role("button", name="Create API keys").click()
    key = signed_in.locator(".made pre").inner_text()
    with Client(gateway.url, key) as client:
        client.get("/whoami")
        signed_in.goto("/settings/keys")
        assert key not in signed_in.content()
        expect(signed_in.get_by_role("cell", name="<b>for the tests</b>")).to_be_visible()
        signed_in.get_by_label(re.compile("Revoke the key")).click()
        signed_in.get_by_role("button", name="Revoke it now").click()
        expect(signed_in.get_by_role("status")).to_contain_text("is revoked")
        expect(signed_in.get_by_text("You have no keys yet")).to_be_visible()
        with pytest.raises(ApiError):
            client.get("/whoami")


# Pages of others.


@contextmanager
def foreign_site(html: str) -> Iterator[str]:
    """Another site of this machine: to a browser the same site, and another origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


FORMS = {
    "/settings/keys": {"kind": "api", "expires": "never", "comment": "", "form_token": "0" * 64},
    "/sign-out": {},
    "/sign-in": {"name": "x", "password": "y"},
    "/open": {"token": "x"},
    "/settings/password": {"old": "x", "new": "y" * 12, "again": "y" * 12},
}


@fault(
    "forged forms",
    injection="every form, from a page of another origin",
    bound="403, though the cookie came",
)
def test_a_foreign_form_changes_nothing(gateway: Gateway, signed_in: Page, person: Person) -> None:
    """A form of another site's page is refused, though the browser sends the cookie with it."""
    before = held(signed_in.context)
    for path, values in FORMS.items():
        fields = "".join(f'<input name="{name}" value="{v}">' for name, v in values.items())
        target = f"{gateway.url}{path}"
        form = f'<form method="post" action="{target}">{fields}<button>Go</button></form>'
        with foreign_site(form) as url:
            signed_in.goto(url)
            with signed_in.expect_response(target) as answered:
                signed_in.get_by_role("button").click()
            # Another port is the same site: the cookie came along, as if to a page of ours.
            assert COOKIE in answered.value.request.all_headers().get("cookie", "")
            assert answered.value.status == 403
            expect(signed_in.get_by_text("auth.csrf")).to_be_visible()
    assert keys_of(gateway, person) == 0
    assert held(signed_in.context) == before
    assert signed_in.request.get("/api/v2/whoami").status == 200


SCRIPT = """
async ([gateway, path]) => {
  const tries = [
    {method: "POST", body: JSON.stringify({name: "stolen"})},
    {method: "POST", body: new URLSearchParams({kind: "api", expires: "never"})},
    {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"},
    {method: "POST", headers: {"X-CSRF-Token": "0"}, body: "{}"},
    {method: "DELETE"},
    {method: "GET"},
  ];
  const told = [];
  for (const each of tries)
    for (const mode of ["cors", "no-cors"])
      try {
        const answer = await fetch(gateway + path, {...each, mode, credentials: "include"});
        told.push(answer.type == "opaque" ? "opaque" : await answer.text());
      } catch (error) {
        told.push("refused");
      }
  return told;
}
"""


@fault(
    "another origin's script",
    injection="requests with the cookie",
    bound="nothing changed, nothing read",
)
def test_a_foreign_script_changes_and_reads_nothing(
    gateway: Gateway, signed_in: Page, person: Person
) -> None:
    """A script of another site that sends the cookie changes nothing and reads nothing."""
    with foreign_site("<p>hello</p>") as url:
        signed_in.goto(url)
        for path in ("/api/v2/projects", "/api/v2/whoami", "/settings/keys", "/"):
            told = signed_in.evaluate(SCRIPT, [gateway.url, path])
            assert set(told) <= {"opaque", "refused"}
    assert "stolen" not in [project["name"] for project in gateway.client.listing("/projects")]
    assert keys_of(gateway, person) == 0


@fault(
    "a frame around a page",
    injection="another origin's page",
    bound="it stays empty",
)
def test_no_page_of_ours_is_framed(gateway: Gateway, signed_in: Page) -> None:
    """Another site cannot put a page of ours into its own, to make a user click there."""
    with foreign_site(f'<iframe src="{gateway.url}/settings/keys"></iframe>') as url:
        signed_in.goto(url)
        frame = signed_in.frames[-1]
        expect(frame.locator("body")).not_to_contain_text("Create a key")
        assert not frame.url.startswith(gateway.url)


def test_beyond_loopback_without_tls(tmp_path: Path, page: Page) -> None:
    """Where the browser tells less of whence a form comes, ours are taken and others are not."""
    with Gateway(tmp_path / "data", isolation="none", public_url=f"http://{BEYOND}") as gateway:
        base = f"http://{BEYOND}:{urlsplit(gateway.url).port}"
        person = Person("a-user", secrets.token_hex(8))
        wish = {"username": person.name, "password": person.password}
        gateway.client.post("/users", wish)
        sign_in(page, person, base)
        expect(page.get_by_role("heading", name=HOME)).to_be_visible()
        form = f'<form method="post" action="{base}/sign-in"><button>Go</button></form>'
        with foreign_site(form) as url:
            for origin in (url, url.replace("127.0.0.1", BEYOND)):
                page.goto(origin)
                page.get_by_role("button").click()
                expect(page.get_by_text("auth.csrf")).to_be_visible()
        page.goto(f"{base}/settings/keys")
        sign_out(page)
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_session_asks_the_admin_api_with_its_token(
    gateway: Gateway, signed_in: Page, person: Person
) -> None:
    """A script of our own origin changes things with the form token, and not without."""
    ask = """
    async ([path, token]) => {
      const headers = {"Content-Type": "application/json", ...(token && {"X-CSRF-Token": token})};
      const body = JSON.stringify({comment: "by a session"});
      return (await fetch(path, {method: "POST", headers, body})).status;
    }
    """
    token = signed_in.locator('input[name="form_token"]').first.get_attribute("value")
    path = f"/api/v2/users/{person.name}/model_keys"
    assert signed_in.evaluate(ask, [path, ""]) == 403
    assert signed_in.evaluate(ask, [path, "0" * 64]) == 403
    assert keys_of(gateway, person) == 0
    assert signed_in.evaluate(ask, [path, token]) == 200
    assert keys_of(gateway, person) == 1


# What a page may do.


def test_the_policy_holds(gateway: Gateway, signed_in: Page) -> None:
    """Our pages keep to their policy, and what gets into one does not run and loads nothing."""
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    signed_in.on("console", note)
    for path in ("/", "/settings/keys", "/settings/password", "/open", "/sign-in"):
        signed_in.goto(path)
        assert signed_in.evaluate("getComputedStyle(document.body).marginTop") == "0px"
    assert complaints == []
    signed_in.evaluate(
        """
        for (const html of ["<script>window.ran = 1</script>", "<p style='color: red'>styled</p>"])
            document.body.append(document.createRange().createContextualFragment(html));
        """
    )
    assert signed_in.evaluate("window.ran") is None
    assert len(complaints) == 2
    assert all("Content Security Policy" in each for each in complaints)


@fault(
    "stored markup",
    injection="scripts in texts of users",
    bound="they are read, not run",
)
def test_what_others_wrote_is_text(gateway: Gateway, signed_in: Page) -> None:
    """Markup in the description of a project is shown, not run."""
    said = "</p><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
    wish = {"name": "hostile", "template": "blank", "visibility": "public", "description": said}
    gateway.client.post("/projects", wish)
    signed_in.goto("/projects")
    expect(signed_in.get_by_text(said)).to_be_visible()
    assert signed_in.evaluate("window.ran") is None


def test_a_refusal_is_a_page_for_people_and_json_for_programs(
    gateway: Gateway, signed_in: Page
) -> None:
    """A page that is not there is told of in HTML; who asks for anything gets JSON."""
    answer = signed_in.goto("/nothing<script>")
    assert answer is not None
    assert answer.status == 404
    expect(signed_in.get_by_role("heading", name="Page not found")).to_be_visible()
    connection = HTTPConnection(urlsplit(gateway.url).netloc)
    connection.request("GET", "/nothing", headers={"Accept": "*/*"})
    reply = connection.getresponse()
    assert reply.headers["Content-Type"] == "application/json"
    connection.close()

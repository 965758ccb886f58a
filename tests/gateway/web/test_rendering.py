"""Pages as HTML: what is foreign in them stays text."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.errors import CATALOGUE, Code, Refusal
from gateway.web.csrf import form_token
from gateway.web.home_items import attention, counts, own_entries
from gateway.web.keys import KINDS, LIFETIMES, asked_key
from gateway.web.rendering import Rendering, Viewer, browser_of, sentence
from gateway.web.routing import local_path
from gateway.web.states import model_state
from store import User, as_text

RENDERING = Rendering()
HOSTILE = """</pre><script>alert(1)</script><img src=x onerror='alert("1")'>"""
FAILURE = {"step": "START", "summary": HOSTILE, "problem": HOSTILE, "advice": HOSTILE}
MODEL = {
    "id": "m",
    "name": HOSTILE,
    "project": {"id": "p", "name": HOSTILE},
    "status": "failed",
    "failure": FAILURE,
    "latest_build": None,
    "current_build_number": 1,
    "replicas_ready": 0,
    "replicas_wanted": 1,
    "updated_at": "2026-11-29T00:00:00.000Z",
}
ENTRY = {
    "number": 1,
    "created_at": "2026-11-29T00:00:00.000Z",
    "action": "model.create",
    "outcome": "done",
    "object": "/projects/p/models/m",
    "detail": f"by session; {HOSTILE}",
}


async def page(template: str, viewer: Viewer, **values: Any) -> str:
    return (await RENDERING.page(template, viewer, **values)).decode()


async def home(viewer: Viewer, *models: dict[str, Any]) -> str:
    """The first page with these models."""
    return await page(
        "home.html",
        viewer,
        site={"may_create_projects": True, "may_create_models": True, "url": "http://x"},
        attention=attention(models),
        counts=counts(models),
        models=[(model, model_state(model)) for model in models],
        more=False,
        steps=[],
        entries=own_entries([ENTRY]),
    )


async def test_texts_of_users_are_escaped() -> None:
    """No name, failure or note becomes markup, wherever it stands."""
    html = await home(Viewer(User(name="x", full_name=HOSTILE), "token"), MODEL)
    assert html.count("&lt;script&gt;") >= 8
    assert HOSTILE not in html
    assert html.count("<script") == 1  # ours
    assert "<img src=x" not in html


async def test_refusal_is_escaped() -> None:
    """A refusal that repeats what was sent cannot bring markup in."""
    refused = Refusal("route.notfound", f"there is nothing at {HOSTILE}")
    assert HOSTILE.encode() not in await RENDERING.refused(refused, Viewer(), "id")


@pytest.mark.parametrize("code", CATALOGUE)
async def test_every_refusal_has_a_page(code: Code) -> None:
    """Each error of the catalogue has a page."""
    html = (await RENDERING.refused(Refusal(code, "so it is"), Viewer(), "request-1")).decode()
    assert f"<code>{code}</code>" in html
    assert "So it is." in html
    assert "<code>request-1</code>" in html
    (how,) = re.findall(r"<b>[A-Z][\w ]+:</b> ([A-Z].*\.)</p>", html)
    # What is to be done is done in pages, except by the operator of the machine.
    assert "predictd" not in how.replace("`predictd doctor`", "").replace("`predictd open`", "")


def test_messages_become_sentences() -> None:
    """A message begins with a capital and ends."""
    assert sentence("wait 3 s") == "Wait 3 s."
    assert sentence("Why?") == "Why?"
    assert sentence("") == "."


async def test_each_form_of_a_session_has_its_token() -> None:
    """Every form of a signed-in user has the token of their session."""
    visitor = Viewer(User(name="x", password="kept"), "token")
    pages = [
        await home(visitor),
        await page(
            "settings/password.html",
            visitor,
            changed=False,
            must_choose=False,
            tabs=(),
            errors=dict.fromkeys(("old", "new", "again"), ""),
        ),
        await page(
            "settings/keys.html",
            visitor,
            tabs=(),
            created="",
            revoked="",
            once="0",
            kinds=KINDS,
            lifetimes=list(LIFETIMES),
            usual_lifetime="1 year",
            keys=[],
        ),
    ]
    for html in pages:
        forms = re.findall(r'<form[^>]* method="post".*?</form>', html, re.DOTALL)
        assert forms
        assert all(form_token("token") in form for form in forms)


async def test_files_are_named_by_their_content() -> None:
    """What a page refers to is there, at an address that changes when the file does."""
    visitor = Viewer(User(name="x", password="kept"), "token")
    texts = [await page("open.html", viewer) for viewer in (Viewer(), visitor)]
    texts += [file.content.decode() for file in RENDERING.files.values()]
    named = r'(?:(?:href|src)="/static/|from "\./)([\w.]+)\?v=([0-9a-f]+)"'
    used = [each for text in texts for each in re.findall(named, text)]
    assert {name for name, _ in used} == set(RENDERING.files)
    assert all(RENDERING.files[name].version == version for name, version in used)


def test_pages_have_nothing_inline() -> None:
    """No template has a script or a style of its own, which the policy would refuse."""
    for name in RENDERING._environment.list_templates():
        assert RENDERING._environment.loader is not None
        source = RENDERING._environment.loader.get_source(RENDERING._environment, name)[0]
        assert not re.search(
            r'<style|\sstyle=|\son\w+=|javascript:|<script(?! (?:type="module" )?src=)', source
        ), name


def luminance(colour: str) -> float:
    """As WCAG 2 has it."""
    digits = colour if len(colour) == 6 else "".join(2 * each for each in colour)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read(scheme: int) -> None:
    """Every text stands out from every ground it is on by 4.5 to 1 or more."""
    blocks = re.findall(
        r":root {(.*?)}", RENDERING.files["predictd.css"].content.decode(), re.DOTALL
    )
    colours = dict(re.findall(r"--([\w-]+): #(\w+)", blocks[scheme]))
    texts = ("text", "soft", "accent", "good", "busy", "warn", "bad")
    pairs = [(text, ground) for text in texts for ground in ("ground", "card")]
    pairs += [("on-accent", "accent"), ("bad", "bad-ground"), ("good", "good-ground")]
    pairs += [("busy", "busy-ground"), ("warn", "warn-ground")]
    for text, ground in pairs:
        less, more = sorted((luminance(colours[text]), luminance(colours[ground])))
        assert (more + 0.05) / (less + 0.05) >= 4.5, (text, ground)


@pytest.mark.parametrize("path", ["/", "/settings/keys", "/settings/keys?x=1", "/a/b#c"])
def test_local_path_keeps_own_path(path: str) -> None:
    """After signing in a user gets the page that they requested."""
    assert local_path(path) == path


@pytest.mark.parametrize(
    "text",
    [
        *("", "keys", "//evil", "///evil", "/\\evil", "\\\\evil", "/\t/evil", "/\n/evil"),
        *("http://evil", "https:evil", "javascript:alert(1)", "/é", "/%\x00", "//["),
    ],
)
def test_local_path_drops_other_sites(text: str) -> None:
    """The sign-in page never leads to another site."""
    assert local_path(text) == "/"


def test_what_the_form_of_keys_offers() -> None:
    """Each kind and each lifetime of the page can be asked for; anything else is refused."""
    now = datetime(2026, 11, 21, tzinfo=UTC)
    for kind in KINDS:
        for name, life in LIFETIMES.items():
            asked = asked_key({"kind": kind, "expires": name, "comment": " ci "}, now)
            assert (asked.kind, asked.body["comment"]) == (kind, "ci")
            expires = as_text(now + life) if life else "never"
            assert asked.body["expiry_date"] == expires
    for form in ({}, {"kind": "admin", "expires": "never"}, {"kind": "api", "expires": "9 years"}):
        with pytest.raises(Refusal):
            asked_key(form, now)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0 Safari/537.36", "Chrome on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/120.0 Safari/537 Edg/120.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14) Version/17 Safari/605", "Safari on macOS"),
        ("Mozilla/5.0 (Linux; Android 14) Firefox/121.0", "Firefox on Android"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "unknown"),
    ],
)
def test_browser_has_its_usual_name(said: str, shown: str) -> None:
    """A list of sessions names browsers as their users do."""
    assert browser_of(said) == shown

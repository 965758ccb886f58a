"""Pages as HTML: what is foreign in them stays text."""

import re
from datetime import UTC, datetime

import msgspec
import pytest

from gateway.control.views import ModelView
from gateway.errors import CATALOGUE, Code, Refusal
from gateway.web.csrf import form_token
from gateway.web.home_rows import model_row, project_row
from gateway.web.keys import KINDS, LIFETIMES, new_key
from gateway.web.rendering import Rendering, Viewer, sentence
from gateway.web.routing import local_path
from store import Deployment, Failure, Model, Project, User

RENDERING = Rendering()
HOSTILE = """</pre><script>alert(1)</script><img src=x onerror='alert("1")'>"""
MODEL = Model(
    project_id="p",
    name=HOSTILE,
    description=HOSTILE,
    cpu_millicores=1000,
    memory_mb=1,
    replicas=1,
    creator=HOSTILE,
)


def deployment(status: str, **more: object) -> Deployment:
    facts = {
        "model_id": MODEL.id,
        "project_id": "p",
        "build_id": "b",
        "build_number": 3,
        "cpu_millicores": 1000,
        "memory_mb": 1,
        "replicas": 2,
        "deployer": "me",
        "status": status,
    }
    return Deployment(**facts | more)  # type: ignore[arg-type]


def view(model: Model, deployment: Deployment | None, example: str | None = None) -> ModelView:
    """A model without replicas, as the control shows it."""
    return ModelView(
        model=model,
        deployment=deployment,
        status=deployment.status if deployment else "",
        statistics=None,
        example=example,
        access_key="mkey",
        url="http://x/model",
        crn="",
    )


async def test_texts_of_users_are_escaped() -> None:
    """No name, description, failure or example becomes markup, wherever it stands."""
    failure = Failure(step="START", summary=HOSTILE, problem=HOSTILE, advice=HOSTILE)
    example = msgspec.json.encode(HOSTILE).decode()
    row = model_row(view(MODEL, deployment("failed", failure=failure), example))
    project = Project(name=HOSTILE, path="/p", linked=True, description=HOSTILE, creator="x")
    user = User(name="x", full_name=HOSTILE)
    html = await RENDERING.page(
        "home.html", Viewer(user, "token"), projects=[project_row(project, HOSTILE, [row])]
    )
    assert html.count("&lt;script&gt;") >= 8
    assert HOSTILE not in html
    assert html.count("<script") == 1  # ours
    assert "<img src=x" not in html


async def test_refusal_is_escaped() -> None:
    """A refusal that repeats what was sent cannot bring markup in."""
    refused = Refusal("route.notfound", f"there is nothing at {HOSTILE}")
    assert HOSTILE not in await RENDERING.refused(refused, Viewer(), "id")


@pytest.mark.parametrize("code", CATALOGUE)
async def test_every_refusal_has_a_page(code: Code) -> None:
    """Each error of the catalogue has a page."""
    html = await RENDERING.refused(Refusal(code, "so it is"), Viewer(), "id")
    assert f"<code>{code}</code>" in html
    assert "So it is." in html


def test_messages_become_sentences() -> None:
    """A message begins with a capital and ends."""
    assert sentence("wait 3 s") == "Wait 3 s."
    assert sentence("Why?") == "Why?"
    assert sentence("") == "."


async def test_each_form_of_a_session_has_its_token() -> None:
    """Every form of a signed-in user has the token of their session."""
    visitor = Viewer(User(name="x", password="kept"), "token")
    pages = [
        await RENDERING.page("home.html", visitor, projects=[]),
        await RENDERING.page(
            "settings/password.html", visitor, changed=False, must_choose=False, tabs=()
        ),
        await RENDERING.page(
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
    texts = [await RENDERING.page("open.html", viewer) for viewer in (Viewer(), visitor)]
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


@pytest.mark.parametrize(
    ("status", "tone", "wanted"),
    [("deployed", "busy", 2), ("deploying", "busy", 2), ("failed", "bad", 2)],
)
def test_model_row_shows_status(status: str, tone: str, wanted: int) -> None:
    """A model's row says what there is of it and what there should be."""
    row = model_row(view(MODEL, deployment(status)))
    assert (row.status, row.tone, row.ready, row.wanted, row.build) == (status, tone, 0, wanted, 3)


def test_model_row_without_deployment() -> None:
    """It says so, and wants no replicas."""
    row = model_row(view(MODEL, None))
    assert (row.status, row.wanted, row.build) == ("not deployed", 0, None)


def test_model_row_has_call() -> None:
    """The call has the key in it that it needs, to be put in by the shell; an open model's none."""
    closed = model_row(view(MODEL, None, '{"a":"$1"}'))
    assert 'curl -H "Authorization: Bearer $KEY" -H' in closed.curl
    model = Model(
        project_id="p",
        name="m",
        cpu_millicores=1,
        memory_mb=1,
        replicas=1,
        creator="x",
        auth_enabled=False,
    )
    assert "Authorization" not in model_row(view(model, None)).curl


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
    """Each kind and each lifetime of the page can be made; anything else is refused."""
    now = datetime(2026, 11, 21, tzinfo=UTC)
    for kind in KINDS:
        for name, life in LIFETIMES.items():
            asked = new_key({"kind": kind, "expires": name, "comment": " ci "}, now)
            assert (asked.kind, asked.comment, asked.never) == (kind, "ci", life is None)
            assert asked.expires == (now + life if life else None)
    for form in ({}, {"kind": "admin", "expires": "never"}, {"kind": "api", "expires": "9 years"}):
        with pytest.raises(Refusal):
            new_key(form, now)

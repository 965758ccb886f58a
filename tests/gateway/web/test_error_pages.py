"""Error pages over HTTP: who must act and how, in the frame of the site."""

import pytest

from gateway.errors import CATALOGUE, Refusal
from gateway.web.csrf import TOKEN_FIELD
from gateway.web.error_pages import error_page
from tests.support.browsers import OURS, Browser
from tests.support.gateway import Gateway, refusal


def test_each_kind_of_error_says_who_acts() -> None:
    """What a retry solves can be tried again; an operator, an author and a defect are named."""
    pages = {
        CATALOGUE[code].who: error_page(
            Refusal(code, "it is so"), signed_in=True, back="/projects", again="/models"
        )
        for code in ("disk.full", "gateway.overloaded", "internal", "model.error", "name.taken")
    }
    assert [pages[who].who for who in ("operator", "author", "server", "caller", "retry")] == [
        "The operator of this gateway must act:",
        "The author of the model must act:",
        "This is a defect of predictd:",
        "What you can do:",
        "Try again later:",
    ]
    assert pages["retry"].links[0] == ("/models", "Try again")
    assert pages["caller"].links == [("/projects", "Back"), ("/", "Home")]
    stranger = error_page(Refusal("auth.required", "x"), signed_in=False, back="", again="/")
    assert stranger.links == [("/sign-in", "Sign in")]


def test_own_advice_and_wait_are_shown() -> None:
    """Advice that is given with an error is shown as it is, with the time to wait."""
    refused = Refusal("project.busy", "x", advice="stop a run", headers={"Retry-After": "7"})
    page = error_page(refused, signed_in=True, back="", again="")
    assert page.how == "stop a run (in 7 s)"


@pytest.mark.parametrize(
    ("method", "path", "status", "heading"),
    [
        ("GET", "/nothing", 404, "Page not found"),
        ("GET", "/projects/none", 404, "Page not found"),
        ("GET", "/admin", 403, "You may not do this"),
        ("POST", "/projects", 405, "This address takes no such request"),
        ("POST", "/projects/new", 413, "Too large"),
    ],
)
async def test_error_page_is_in_the_frame(
    browser: Browser, method: str, path: str, status: int, heading: str
) -> None:
    """A refused page has the menu, says who acts, and names the request; programs get JSON."""
    content = b"x=" + b"y" * 200_000 if status == 413 else None
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for accept in ("text/html", "*/*"):
        headers = OURS | form | {"Accept": accept, "Referer": f"{browser.client.base_url}/models"}
        answer = await browser.client.request(method, path, content=content, headers=headers)
        assert answer.status_code == status
        if accept == "*/*":
            assert refusal(answer)[0] == status
            assert answer.json()["details"][0]["advice"]
            continue
        text = answer.text
        assert f"<h1>{heading}</h1>" in text
        assert 'aria-label="Pages"' in text
        assert "<b>What you can do:</b>" in text
        assert answer.headers["x-request-id"] in text
        assert '<a class="button" href="/models">Back</a>' in text


async def test_forged_form_says_what_to_do(browser: Browser) -> None:
    """A form without its token is refused with the way out."""
    answer = await browser.post("/settings/keys", **{TOKEN_FIELD: "x"})
    assert answer.status_code == 403
    assert "send the form once more" in answer.text


async def test_ended_session_says_so(shared: Gateway, browser: Browser) -> None:
    """A user whose session has ended signs in and comes back to the page, or to the form that was
    not saved."""
    for session in (await shared.get(f"/users/{browser.name}/sessions"))["sessions"]:
        await shared.delete(f"/users/{browser.name}/sessions/{session['session_id']}")
    answer = await browser.get("/projects?filter=x")
    assert answer.headers["location"] == "/sign-in?next=/projects%3Ffilter%3Dx&ended=yes"
    page = (await browser.get(answer.headers["location"])).text
    assert "Your session has ended" in page
    assert 'value="/projects?filter=x"' in page
    headers = OURS | {"Referer": f"{browser.client.base_url}/projects/new"}
    answer = await browser.client.post("/projects/new", data={}, headers=headers)
    assert answer.headers["location"] == "/sign-in?next=/projects/new&ended=unsaved"
    assert "was not saved" in (await browser.get(answer.headers["location"])).text
    headers = OURS | {"Referer": "https://evil.example/projects"}
    answer = await browser.client.post("/projects/new", data={}, headers=headers)
    assert answer.headers["location"] == "/sign-in?ended=unsaved"
    browser.client.cookies.clear()
    assert "Your session" not in (await browser.get("/sign-in")).text

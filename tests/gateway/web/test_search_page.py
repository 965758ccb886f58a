"""/search over HTTP."""

from tests.support.browsers import Browser, fresh_name
from tests.support.gateway import Gateway


async def test_search_finds_what_its_user_may_see(shared: Gateway, browser: Browser) -> None:
    """Projects and models are found by a part of their name, and private ones of others are not."""
    name = fresh_name()
    body = {"template": "blank", "visibility": "public"}
    public = await shared.post("/projects", {"name": f"{name}-public", **body})
    await shared.post(f"/projects/{public['id']}/models", {"name": f"{name}-model"})
    await shared.post("/projects", {"name": f"{name}-private", "template": "blank"})
    page = (await browser.get(f"/search?q={name.upper()}")).text
    assert f"{name}-public" in page
    assert f"{name}-model" in page
    assert f"{name}-private" not in page
    nothing = (await browser.get("/search?q=%3Cscript%3E")).text
    assert "has this in its name" in nothing
    assert "<script>" not in nothing
    assert (await browser.get("/search")).headers["location"] == "/projects"

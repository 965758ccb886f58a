"""/settings: User Settings, and the browsers in which the user is signed in."""

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.api import url
from gateway.web.routing import (
    KEYS,
    PASSWORD,
    SESSIONS,
    SETTINGS,
    SIGN_IN,
    PageRequest,
    PageRouter,
    redirect,
)

TABS = ((PASSWORD, "Password"), (KEYS, "API Keys"), (SESSIONS, "Sessions"))


class SettingsPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(SETTINGS, "go to the first of the User Settings")
    async def first(self, page: PageRequest) -> Response:
        return redirect(PASSWORD)

    @routing.get(SESSIONS, "list the browsers in which one is signed in")
    async def sessions(self, page: PageRequest) -> Response:
        return await self._page(page)

    @routing.post(f"{SESSIONS}/<login_id>/end", "sign a browser out", audit="user.end_session")
    async def end(self, page: PageRequest, login_id: str) -> Response:
        assert page.session is not None
        try:
            await page.api.delete(url("users", page.user.name, "sessions", login_id))
        except Refusal as refused:
            return await self._page(page, refused)
        if login_id == page.session.id:
            return self._router.signed_out(SIGN_IN)
        return redirect(f"{SESSIONS}?done")

    async def _page(self, page: PageRequest, refused: Refusal | None = None) -> Response:
        path = url("users", page.user.name, "sessions")
        return await self._router.reply(
            "settings/sessions.html",
            page.viewer,
            refused=refused,
            here=SESSIONS,
            tabs=TABS,
            tab=SESSIONS,
            sessions=(await page.api.items(path, "sessions"))[::-1],
            done="done" in page.query,
        )

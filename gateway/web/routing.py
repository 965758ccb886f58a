"""How a page is written, and what is done for all of them.

A page is declared once, with its method, path, for whom it is and what it is; Quart's rules and the
README's table come from that list. Before a handler runs it is known that

- what changes something came from a page of ours, and in a session has its form token;
- where somebody has to be signed in, somebody is, and has chosen their own password.

What is refused before that is entered in the audit trail here, the rest by who carries it out.

A handler takes the `PageRequest` and gives a reply; what is in the path comes behind. What changes
state runs to its end even if the browser goes away.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from msgspec import Struct
from quart import Response, g, request
from quart_trio import QuartTrio

from gateway.control import Control
from gateway.control.accounts.sign_in import Browser
from gateway.control.audit.audit_log import AuditEvent
from gateway.errors import Refusal
from gateway.identity.grants import Principal
from gateway.identity.principal import is_allowed, must_choose_password, require_again
from gateway.identity.session_cookie import (
    DEVICE_SECONDS,
    device_cookie,
    device_in,
    session_cookie,
    session_in,
)
from gateway.web.csrf import SAFE_METHODS, TOKEN_FIELD, check_origin, check_token
from gateway.web.rendering import Rendering, Viewer
from store import Session, User

SIGN_IN = "/sign-in"
PASSWORD = "/password"
SIGN_OUT = "/sign-out"
# Where who has to choose a password may go meanwhile.
_BEFORE_A_PASSWORD = (PASSWORD, SIGN_OUT)


class PageRequest(Struct, frozen=True, kw_only=True):
    """One request for a page. `session` and `user` are there where the page needs them; `token` is
    what the browser holds."""

    visitor: Viewer
    session: Session | None
    form: Mapping[str, str]
    query: Mapping[str, str]
    browser: Browser

    @property
    def user(self) -> User:
        assert self.visitor.user is not None
        return self.visitor.user

    @property
    def must_choose_password(self) -> bool:
        assert self.session is not None
        return must_choose_password(self.user, self.session)

    def act(self, action: str, place: str, *, makes: bool = False) -> AuditEvent:
        """What the audit trail is told of what this user does."""
        g.entered = True
        return AuditEvent(
            user=self.user.name,
            address=self.browser.address,
            action=action,
            object=place,
            detail="by session",
            makes=makes,
        )


Handler = Callable[..., Awaitable[Response]]


class Page(Struct, frozen=True):
    """One page, or what a form of one does. `public`: for whoever is not signed in, too; `action`:
    what the audit trail calls it."""

    method: str
    path: str
    public: bool
    summary: str
    handler: Handler
    action: str


class PageRouter:
    """Collects pages, then makes routes of them; makes the replies that all pages share."""

    def __init__(self, control: Control, rendering: Rendering) -> None:
        self.pages: list[Page] = []
        self._control = control
        self._rendering = rendering

    def add(
        self,
        method: str,
        path: str,
        summary: str,
        handler: Handler,
        *,
        public: bool = False,
        action: str = "",
    ) -> None:
        self.pages.append(Page(method, path, public, summary, handler, action))

    def register(self, app: QuartTrio) -> None:
        for page in self.pages:
            app.add_url_rule(
                page.path,
                endpoint=f"{page.method} {page.path}",
                view_func=self._view(page),
                methods=[page.method],
                provide_automatic_options=False,
            )

    def _view(self, page: Page) -> Handler:
        async def view(**values: str) -> Response:
            changes = page.method not in SAFE_METHODS
            if changes:
                check_origin(request.headers.get, self._control.context.urls.public)
            token, session, visitor = self._visiting()
            if not page.public:
                if session is None or visitor.user is None:
                    await self.refused("auth.required")
                    return redirect(_to_sign_in(request.full_path, changes))
                made = must_choose_password(visitor.user, session)
                if made and page.path not in _BEFORE_A_PASSWORD:
                    return redirect(PASSWORD)
                address = request.remote_addr or ""
                g.principal = Principal(visitor.user, "session", address, session=session)
                is_allowed(self._control.context.accounts, "user")
            form: Mapping[str, str] = await request.form if changes else {}
            if changes and not page.public:
                check_token(token, form.get(TOKEN_FIELD, ""))
            visit = PageRequest(
                visitor=visitor,
                session=session,
                form=form,
                query=request.args,
                browser=Browser(
                    address=request.remote_addr or "",
                    agent=request.headers.get("User-Agent", ""),
                    device=device_in(request.cookies, request.is_secure),
                ),
            )
            if not changes:
                response = await page.handler(visit, **values)
                require_again(self._control.context.accounts)
                return response
            return await self._control.context.tasks.finish(page.handler, visit, *values.values())

        return view

    async def refused(self, code: str) -> None:
        """Enters in the audit trail that the running request was refused."""
        if (act := self.not_entered()) is not None:
            await self._control.audit_log.refused(act, code)

    def not_entered(self) -> AuditEvent | None:
        """What the running request asks for, if it is a form and has no entry yet."""
        endpoint = request.url_rule.endpoint if request.url_rule else ""
        actions = [p.action for p in self.pages if endpoint == f"{p.method} {p.path}" and p.action]
        if not actions or g.get("entered"):
            return None
        _, _, visitor = self._visiting()
        return AuditEvent(
            user=visitor.user.name if visitor.user else "",
            address=request.remote_addr or "",
            action=actions[0],
            object=request.path,
        )

    def _visiting(self) -> tuple[str, Session | None, Viewer]:
        token = session_in(request.cookies, request.is_secure)
        found = self._control.context.accounts.session(token)
        if found is None:
            return "", None, Viewer()
        return token, found[0], Viewer(found[1], token)

    def reply(
        self,
        template: str,
        visitor: Viewer,
        *,
        refused: Refusal | None = None,
        **values: Any,
    ) -> Response:
        """A page as the answer, with what was `refused` on it."""
        body = self._rendering.page(template, visitor, refused=refused, **values)
        status, headers = (refused.kind.status, refused.headers) if refused else (200, {})
        return Response(body, status, headers, content_type="text/html; charset=utf-8")

    def refuse(self, refused: Refusal, request_id: str) -> Response:
        """The page that tells of an error."""
        _, _, visitor = self._visiting()
        body = self._rendering.refused(refused, visitor, request_id)
        status = refused.kind.status
        return Response(body, status, refused.headers, content_type="text/html; charset=utf-8")

    def signed_in(self, token: str, path: str, device: str = "") -> Response:
        """Redirects to `path` and sets the cookie of the session, and the long-lived cookie that
        says that a user has signed in with a password here."""
        response = redirect(path)
        response.set_cookie(value=token, **session_cookie(request.is_secure))
        if device:
            kept = device_cookie(request.is_secure)
            response.set_cookie(value=device, max_age=DEVICE_SECONDS, **kept)
        return response

    def signed_out(self, path: str) -> Response:
        """On to `path`, holding nothing."""
        response = redirect(path)
        response.delete_cookie(**session_cookie(request.is_secure))
        return response


def redirect(path: str) -> Response:
    """On to another page, by GET."""
    return Response(b"", 303, {"Location": path}, content_type="text/plain")


def local_path(text: str) -> str:
    """The path of this gateway that a page was to go on to; "/" where it would lead elsewhere."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    # Browsers read `\` as `/`, and leave out what does not print: `/\there`, `/<tab>/there`.
    plain = text.isascii() and text.isprintable() and "\\" not in text
    inside = text.startswith("/") and not text.startswith("//")
    return text if plain and inside and not (parts.scheme or parts.netloc) else "/"


def _to_sign_in(path: str, changes: bool) -> str:
    """Where nobody is signed in; what would have changed something is not asked for again."""
    wanted = local_path(path.removesuffix("?"))
    return SIGN_IN if changes or wanted == "/" else f"{SIGN_IN}?next={quote(wanted)}"

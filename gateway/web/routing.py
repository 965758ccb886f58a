"""The declaration of a page's route, and the checks for every page.

A class has the pages of one noun. The decorators `get` and `post` declare the route of a handler.
Quart's rules and the README's table come from these declarations. A handler runs only if

- a request that changes state comes from a page of this gateway, and has the form token of its
  session, if it has a session;
- on a page that is not public, a user is signed in, has chosen a password, and has the permission
  that the page states.

A request that fails these checks is recorded in the audit log here; the control records the others.

A handler gets a `PageRequest` and the values in the path. A change runs to its end even if the
browser disconnects.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from quart import Response, g, request
from quart_trio import QuartTrio

from gateway import route_declaration
from gateway.control import Control
from gateway.control.accounts.sign_in import Browser
from gateway.control.audit.audit_log import AuditEvent
from gateway.control.records import Session, User
from gateway.errors import Code, Refusal
from gateway.identity.accounts import Accounts
from gateway.identity.grants import Principal
from gateway.identity.permissions import Permission
from gateway.identity.principal import is_allowed, must_choose_password, require, require_again
from gateway.identity.session_cookie import (
    DEVICE_SECONDS,
    device_cookie,
    device_in,
    session_cookie,
    session_in,
)
from gateway.route_declaration import H, RouteTable, bound_routes, declare, mark_audited
from gateway.web.api import Api
from gateway.web.csrf import SAFE_METHODS, TOKEN_FIELD, check_origin, check_token
from gateway.web.forms import FORM_LIMIT, read_form
from gateway.web.inputs import PageInputs
from gateway.web.live import SELDOM
from gateway.web.rendering import Rendering, Viewer
from gateway.web.try_lines import TryLines

HTML = "text/html; charset=utf-8"
SIGN_IN = "/sign-in"
SETTINGS = "/settings"
PASSWORD = f"{SETTINGS}/password"
KEYS = f"{SETTINGS}/keys"
SESSIONS = f"{SETTINGS}/sessions"
SIGN_OUT = "/sign-out"
_ADMIN = "/admin"  # all below is for site administrators
# Open to a user who has to choose a password first.
_BEFORE_A_PASSWORD = (PASSWORD, SIGN_OUT)


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request for a page. It has a `session` and a `user` unless the page is public."""

    viewer: Viewer
    session: Session | None
    form: Mapping[str, str]
    query: Mapping[str, str]
    browser: Browser
    api: Api
    accounts: Accounts
    path: str  # with its query
    # Of an open page that is rendered again.
    inputs: PageInputs | None = None

    @property
    def user(self) -> User:
        assert self.viewer.user is not None
        return self.viewer.user

    @property
    def must_choose_password(self) -> bool:
        assert self.session is not None
        return must_choose_password(self.user, self.session)

    def may(self, needs: Permission, project_id: str = "") -> bool:
        """Whether the user may do something, so that a page offers it."""
        found = is_allowed(self.accounts, needs, project_id)
        self.note(f"{needs} {project_id}", found)
        return found

    def now(self) -> datetime:
        """The time, for a page that shows how long something has taken so far."""
        now = datetime.now(UTC)
        self.note("now", now)
        return now

    def note(self, what: str, found: object) -> None:
        """Notes what a page shows and no reply says, such as a window that ends now."""
        if self.inputs is not None:
            self.inputs.note(what, msgspec.json.encode(found))

    def check_unchanged(self) -> None:
        """For a handler whose next step is dear: raises Unchanged where an open page shows already
        what follows from what was read so far."""
        if self.inputs is not None:
            self.inputs.check()


class Page(route_declaration.Route, frozen=True, kw_only=True):
    """The route of a page, or of a form on one, which has at most `max_form` bytes. A `public` page
    needs no session. A form needs what its route of the API needs, and so does the page that has
    nothing but it."""

    public: bool = False
    needs: Permission = "user"
    max_form: int = FORM_LIMIT
    # Reads much, so that other open pages do not wait for it.
    slow: bool = False
    # Its form has files, which a route of the API reads, and its token is in the address.
    upload: bool = False


Handler = Callable[..., Awaitable[Response]]


def get(
    path: str,
    summary: str,
    *,
    public: bool = False,
    needs: Permission = "user",
    slow: bool = False,
) -> Callable[[H], H]:
    """Declares the route of a page."""
    return _declare(method="GET", path=path, summary=summary, public=public, needs=needs, slow=slow)


def post(
    path: str,
    summary: str,
    *,
    audit: str,
    public: bool = False,
    needs: Permission = "user",
    max_form: int = FORM_LIMIT,
    upload: bool = False,
) -> Callable[[H], H]:
    """Declares the route of a form. `audit` is the action of the API's route that it calls."""
    return _declare(
        method="POST",
        path=path,
        summary=summary,
        public=public,
        needs=needs,
        audit=audit,
        max_form=max_form,
        upload=upload,
    )


def _declare(**stated: Any) -> Callable[[H], H]:
    if stated["path"].startswith(_ADMIN):
        stated["needs"] = "site.administer"

    def decorate(handler: H) -> H:
        return declare(handler, Page(handler=handler, **stated))

    return decorate


class PageRouter:
    """Registers the pages and runs their handlers; makes the replies that all pages share."""

    def __init__(self, control: Control, rendering: Rendering, calls: Callable[[], int]) -> None:
        self._control = control
        self._rendering = rendering
        self.try_lines = TryLines()
        self.calls = calls
        self._table: RouteTable[Page] = RouteTable(())
        self.app: QuartTrio
        self._api: Api

    def register(self, app: QuartTrio, nouns: Iterable[object]) -> None:
        self.app, self._api = app, Api(app)
        self._table = RouteTable(bound_routes(Page, nouns))
        self._table.register(app, self._view)

    def route(self, endpoint: str) -> Page | None:
        """The page that has an endpoint of Quart's, if it is one."""
        return self._table.get(endpoint)

    def _view(self, page: Page) -> Handler:
        async def view(**values: str) -> Response:
            changes = page.method not in SAFE_METHODS
            if changes:
                check_origin(request.headers.get, self._control.urls.public)
            token, session, viewer = self._viewer()
            if not page.public:
                if session is None or viewer.user is None:
                    await self.audit_refusal("auth.required")
                    return redirect(_to_sign_in(changes))
                must_choose = must_choose_password(viewer.user, session)
                if must_choose and page.path not in _BEFORE_A_PASSWORD:
                    return redirect(PASSWORD)
                address = request.remote_addr or ""
                g.principal = Principal(viewer.user, "session", address, session=session)
            form: Mapping[str, str] = {}
            if page.upload:
                form = {TOKEN_FIELD: request.args.get(TOKEN_FIELD, "")}
            elif changes:
                form = await read_form(page.max_form)
            if changes and not page.public:
                check_token(token, form.get(TOKEN_FIELD, ""))
            if page.path in _BEFORE_A_PASSWORD:
                is_allowed(self._control.accounts, page.needs)
            elif not page.public:
                of_site = page.needs == "site.administer"
                project_id = "" if of_site else values.get("project_id", "")
                require(self._control.accounts, page.needs, project_id)
            page_request = PageRequest(
                viewer=viewer,
                session=session,
                form=form,
                query=request.args,
                browser=Browser(
                    address=request.remote_addr or "",
                    agent=request.headers.get("User-Agent", ""),
                    device=device_in(request.cookies, request.is_secure),
                ),
                api=self._api,
                accounts=self._control.accounts,
                path=request.full_path.removesuffix("?"),
                inputs=g.get("inputs"),
            )
            page_request.note("viewer", viewer.user)
            if not changes:
                response: Response = await page.handler(page_request, **values)
                require_again(self._control.accounts)
                return response
            if page.upload:  # the API's route finishes what has arrived
                uploaded: Response = await page.handler(page_request, **values)
                return uploaded
            work = partial(page.handler, page_request, **values)
            return await self._control.tasks.finish(work)

        return view

    async def audit_refusal(self, code: Code) -> None:
        """Records in the audit log that the running request was refused."""
        if (event := self.pending_audit()) is not None:
            mark_audited()
            await self._control.audit_log.refused(event, code)

    def pending_audit(self) -> AuditEvent | None:
        """The change that the running request asks for, if it has no audit entry yet."""
        page = self._table.unaudited()
        if page is None:
            return None
        _, _, viewer = self._viewer()
        return AuditEvent(
            user=viewer.user.name if viewer.user else "",
            address=request.remote_addr or "",
            action=page.audit,
            object=request.path,
        )

    def _viewer(self) -> tuple[str, Session | None, Viewer]:
        token = session_in(request.cookies, request.is_secure)
        found = self._control.accounts.session(token)
        if found is None:
            return "", None, Viewer()
        return token, found[0], Viewer(found[1], token)

    async def reply(
        self,
        template: str,
        viewer: Viewer,
        *,
        refused: Refusal | None = None,
        refresh: float = SELDOM,
        **values: Any,
    ) -> Response:
        """A rendered page, with its error, if there is one. Its live regions may differ after
        `refresh` seconds without a change in the database."""
        g.refresh = refresh
        if refused is not None:
            await self.audit_refusal(refused.code)
            if "done" in values:  # by an earlier form, which the address of this one names
                values["done"] = ""
        inputs: PageInputs | None = g.get("inputs")
        if inputs is not None:
            inputs.check()
        address = "" if refused is not None else None
        if request.method not in SAFE_METHODS:
            address = _page_before()
        body = await self._rendering.page(
            template, viewer, refused=refused, address=address, **values
        )
        status, headers = (refused.kind.status, refused.headers) if refused else (200, {})
        return Response(body, status, headers, content_type=HTML)

    async def refuse(self, refused: Refusal, request_id: str) -> Response:
        """The page of an error."""
        _, _, viewer = self._viewer()
        again = request.full_path.removesuffix("?") if request.method in SAFE_METHODS else ""
        body = await self._rendering.refused(
            refused, viewer, request_id, back=_page_before(), again=local_path(again)
        )
        return Response(body, refused.kind.status, refused.headers, content_type=HTML)

    def signed_in(self, token: str, path: str, device: str = "") -> Response:
        """Redirects to `path`. Sets the cookie of the session, and the long-lived cookie of a
        browser in which a user has signed in with a password."""
        response = redirect(path)
        response.set_cookie(value=token, **session_cookie(request.is_secure))
        if device:
            kept = device_cookie(request.is_secure)
            response.set_cookie(value=device, max_age=DEVICE_SECONDS, **kept)
        return response

    def signed_out(self, path: str) -> Response:
        """Redirects to `path` and deletes the cookie of the session."""
        response = redirect(path)
        response.delete_cookie(**session_cookie(request.is_secure))
        return response


def redirect(path: str) -> Response:
    """Redirects to another page, by GET."""
    return Response(b"", 303, {"Location": path}, content_type="text/plain")


async def submit(
    change: Awaitable[object], done: str, again: Callable[[Refusal], Awaitable[Response]]
) -> Response:
    """Makes a change and redirects to `done`. Where it is refused, the reply is what `again` makes:
    the page with the form."""
    try:
        await change
    except Refusal as refused:
        return await again(refused)
    return redirect(done)


def local_path(text: str) -> str:
    """The path if it is one of this gateway, else "/"."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    # Browsers read `\` as `/` and drop control characters: `/\there`, `/<tab>/there`.
    plain = text.isascii() and text.isprintable() and "\\" not in text
    inside = text.startswith("/") and not text.startswith("//")
    return text if plain and inside and not (parts.scheme or parts.netloc) else "/"


def _page_before() -> str:
    """The page of this gateway from which the running request comes, "" if it is not known. What
    was done before (`done`) is not said again."""
    try:
        parts = urlsplit(request.headers.get("Referer", ""))
    except ValueError:
        return ""
    if parts.netloc != request.host:
        return ""
    pairs = parse_qsl(parts.query[:FORM_LIMIT], keep_blank_values=True)
    query = urlencode([(name, value) for name, value in pairs if name != "done"])
    return local_path(f"{parts.path}?{query}" if query else parts.path)


def _to_sign_in(changes: bool) -> str:
    """The page to sign in, which leads back to the page that was asked for, or whose form was sent.
    It says that a session has ended."""
    wanted = _page_before() if changes else local_path(request.full_path.removesuffix("?"))
    query = {"next": wanted} if wanted not in ("", "/") else {}
    if session_in(request.cookies, request.is_secure):
        query["ended"] = "unsaved" if changes else "yes"
    return f"{SIGN_IN}?{urlencode(query, safe='/')}" if query else SIGN_IN

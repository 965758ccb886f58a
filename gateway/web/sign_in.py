"""/sign-in, /sign-out, /open and /settings/password."""

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.route_declaration import mark_audited
from gateway.web import routing
from gateway.web.form_errors import field_errors
from gateway.web.routing import PASSWORD, SIGN_IN, SIGN_OUT, PageRequest, PageRouter, local_path
from gateway.web.settings import TABS

_ENDED = {
    "yes": "Your session has ended. Sign in again to continue.",
    "unsaved": "Your session has ended, and what you sent was not saved. Sign in again, and send it"
    " once more.",
}


class SignInPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._sign_in = control.sign_in
        self._router = router

    @routing.get(SIGN_IN, "sign in", public=True)
    async def sign_in_page(self, page: PageRequest) -> Response:
        onward = local_path(page.query.get("next", "/"))
        ended = _ENDED.get(page.query.get("ended", ""), "")
        return await self._router.reply(
            "sign-in.html", page.viewer, name="", next=onward, ended=ended
        )

    @routing.post(SIGN_IN, "sign in with name and password", public=True, audit="sign_in")
    async def sign_in(self, page: PageRequest) -> Response:
        name, onward = page.form.get("name", "").strip(), local_path(page.form.get("next", "/"))
        password = page.form.get("password", "")
        mark_audited()  # as in the other handlers here: the control records what comes of it
        try:
            token = await self._sign_in.sign_in(name, password, page.browser)
        except Refusal as refused:
            return await self._router.reply(
                "sign-in.html", page.viewer, refused=refused, name=name, next=onward, ended=""
            )
        # The session that this browser had before ends.
        if page.session is not None:
            await self._sign_in.sign_out(page.session)
        return self._router.signed_in(token, onward, self._sign_in.new_device(token))

    @routing.post(SIGN_OUT, "end the session", audit="sign_out")
    async def sign_out(self, page: PageRequest) -> Response:
        assert page.session is not None
        await self._sign_in.sign_out(page.session)
        return self._router.signed_out(SIGN_IN)

    @routing.get("/open", "open a link that signs in once", public=True)
    async def open_page(self, page: PageRequest) -> Response:
        return await self._router.reply("open.html", page.viewer)

    @routing.post("/open", "sign in with a link", public=True, audit="link.redeem")
    async def redeem(self, page: PageRequest) -> Response:
        token = page.form.get("token", "").strip().rpartition("#")[2]  # of a whole link, too
        mark_audited()
        try:
            session = await self._sign_in.redeem(token, page.browser)
        except Refusal as refused:
            return await self._router.reply("open.html", page.viewer, refused=refused)
        if page.session is not None:
            await self._sign_in.sign_out(page.session)
        return self._router.signed_in(session, "/")

    @routing.get(PASSWORD, "choose a password")
    async def password_page(self, page: PageRequest) -> Response:
        return await self._password_form(page, changed="changed" in page.query)

    @routing.post(PASSWORD, "change the password; other sessions end", audit="user.change_password")
    async def change_password(self, page: PageRequest) -> Response:
        old, new = page.form.get("old", ""), page.form.get("new", "")
        try:
            if new != page.form.get("again", ""):
                raise Refusal("argument.invalid", "again: it differs from the new password")
            mark_audited()
            token = await self._sign_in.change_password(page.user, old, new, page.browser)
        except Refusal as refused:
            return await self._password_form(page, refused=refused)
        onward = "/" if page.must_choose_password else f"{PASSWORD}?changed"
        return self._router.signed_in(token, onward, self._sign_in.new_device(token))

    async def _password_form(
        self, page: PageRequest, *, changed: bool = False, refused: Refusal | None = None
    ) -> Response:
        return await self._router.reply(
            "settings/password.html",
            page.viewer,
            refused=refused,
            here=PASSWORD,
            tabs=() if page.must_choose_password else TABS,
            tab=PASSWORD,
            errors=_password_errors(refused),
            changed=changed,
            must_choose=page.must_choose_password,
        )


def _password_errors(refused: Refusal | None) -> dict[str, str]:
    """What is wrong with each field. The control names no field of this form."""
    errors = field_errors(refused, ("old", "new", "again", "password"))
    errors["new"] = errors.pop("password") or errors["new"]
    if refused is not None and refused.code == "auth.refused":
        errors["old"] = "it is not your current password"
    return errors

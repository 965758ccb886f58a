"""/sign-in, /sign-out, /open and /password."""

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web.routing import PASSWORD, SIGN_IN, SIGN_OUT, PageRequest, PageRouter, local_path


def add_pages(routing: PageRouter, control: Control) -> None:
    signing = control.sign_in

    async def sign_in_page(visit: PageRequest) -> Response:
        onward = local_path(visit.query.get("next", "/"))
        return routing.reply("sign-in.html", visit.visitor, name="", next=onward)

    async def sign_in(visit: PageRequest) -> Response:
        name, onward = visit.form.get("name", "").strip(), local_path(visit.form.get("next", "/"))
        password = visit.form.get("password", "")
        try:
            token = await signing.sign_in(name, password, visit.browser)
        except Refusal as refused:
            page = "sign-in.html"
            return routing.reply(page, visit.visitor, refused=refused, name=name, next=onward)
        # Whoever was signed in with this browser is not any more.
        if visit.session is not None:
            await signing.sign_out(visit.session)
        return routing.signed_in(token, onward, signing.new_device(token))

    async def sign_out(visit: PageRequest) -> Response:
        assert visit.session is not None
        await signing.sign_out(visit.session)
        return routing.signed_out(SIGN_IN)

    async def open_page(visit: PageRequest) -> Response:
        return routing.reply("open.html", visit.visitor)

    async def redeem(visit: PageRequest) -> Response:
        token = visit.form.get("token", "").strip()
        try:
            session = await signing.redeem(token, visit.browser)
        except Refusal as refused:
            return routing.reply("open.html", visit.visitor, refused=refused)
        if visit.session is not None:
            await signing.sign_out(visit.session)
        return routing.signed_in(session, "/")

    async def password_page(visit: PageRequest) -> Response:
        return password_form(visit, changed="changed" in visit.query)

    def password_form(
        visit: PageRequest, *, changed: bool = False, refused: Refusal | None = None
    ) -> Response:
        return routing.reply(
            "password.html",
            visit.visitor,
            refused=refused,
            here=PASSWORD,
            changed=changed,
            must_choose=visit.must_choose_password,
        )

    async def change_password(visit: PageRequest) -> Response:
        old, new = visit.form.get("old", ""), visit.form.get("new", "")
        try:
            if new != visit.form.get("again", ""):
                raise Refusal("argument.invalid", "the new password was not typed the same twice")
            token = await signing.change_password(visit.user, old, new, visit.browser)
        except Refusal as refused:
            return password_form(visit, refused=refused)
        onward = "/" if visit.must_choose_password else f"{PASSWORD}?changed"
        return routing.signed_in(token, onward, signing.new_device(token))

    routing.add("GET", SIGN_IN, "sign in", sign_in_page, public=True)
    routing.add("POST", SIGN_IN, "try name and password", sign_in, public=True, action="sign_in")
    routing.add("POST", SIGN_OUT, "end the session", sign_out, action="sign_out")
    routing.add("GET", "/open", "where one-time links lead", open_page, public=True)
    routing.add(
        "POST", "/open", "sign in by a one-time link", redeem, public=True, action="link.redeem"
    )
    routing.add("GET", PASSWORD, "choose a password", password_page)
    routing.add(
        "POST",
        PASSWORD,
        "change it; other sessions end",
        change_password,
        action="user.change_password",
    )

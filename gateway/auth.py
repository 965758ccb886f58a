"""Who asks, as a request of the admin API or of a page says: by a key, by a session, or nobody."""

from base64 import b64decode

import msgspec
from quart import g, request

from gateway.directory import Directory
from gateway.errors import Refusal
from gateway.permissions import Permission
from gateway.web.cookies import session_in
from store import NotFound, Session, User


class Principal(msgspec.Struct, frozen=True):
    """Whose request it is, and from where. `session` is there where a browser asks."""

    user: User
    by: str  # "api key", "legacy key", "admin key" or "session"
    address: str
    session: Session | None = None


def principal_of(directory: Directory) -> Principal | None:
    """Whose the running request is; None: nobody's. What it says in a header goes before a cookie,
    and a key that is none is not made good by a cookie."""
    address = request.remote_addr or ""
    header = request.headers.get("Authorization")
    if header is not None:
        if (holder := directory.holder(token_in(header))) is None:
            return None
        return Principal(holder[0], f"{holder[1]} key", address)
    token = session_in(request.cookies, request.is_secure)
    if (signed_in := directory.session(token)) is None:
        return None
    session, user = signed_in
    return Principal(user, "session", address, session)


def principal() -> Principal:
    """Whose the running request is. Raises Refusal("auth.required")."""
    found: Principal | None = g.get("principal")
    if found is None:
        raise Refusal("auth.required", "nobody is signed in, or the key is none")
    return found


def require(
    directory: Directory, needs: Permission, project_id: str = "", about: str = ""
) -> Principal:
    """The principal, if they may do what needs this, in a project or about a user.

    Raises Refusal: "auth.required", "auth.password" for who has to choose a password first, or
    "auth.forbidden"; NotFound for a project they may not even see.
    """
    who = principal()
    if who.session and must_choose_password(who.user, who.session):
        raise Refusal("auth.password", "choose a password of your own first")
    if not directory.may(who.user, needs, project_id, about):
        if project_id and not directory.may(who.user, "project.view", project_id):
            raise NotFound("project", project_id)
        raise Refusal("auth.forbidden", f"{who.user.name} may not do that: it needs {needs!r}")
    return who


def must_choose_password(user: User, session: Session) -> bool:
    """Whether somebody is here by a password that was made for them: whoever made it knows it."""
    return user.must_change_password and not session.by_link


def bearer(header: str | None) -> str:
    """The token of an Authorization header, or ""."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def token_in(header: str | None) -> str:
    """The key in an Authorization header, or "": a Bearer token, or the user of Basic, by which
    legacy keys are sent."""
    scheme, _, rest = (header or "").strip().partition(" ")
    if scheme.lower() != "basic":
        return bearer(header)
    try:
        return b64decode(rest, validate=True).decode().partition(":")[0]
    except ValueError:
        return ""

"""Who asks, as a request of the admin API or of a page says: by a key, by a session, or nobody."""

from base64 import b64decode

from quart import g, request

from gateway.errors import Refusal
from gateway.identity.accounts import Accounts
from gateway.identity.grants import Grant, Principal, Right
from gateway.identity.permissions import Permission
from gateway.identity.session_cookie import session_in
from store import NotFound, Session, User


def authenticate(directory: Accounts) -> Principal | None:
    """Whose the running request is; None: nobody's. What it says in a header goes before a cookie,
    and a key that is none is not made good by a cookie."""
    address = request.remote_addr or ""
    header = request.headers.get("Authorization")
    if header is not None:
        return directory.principal(token_in(header), address)
    token = session_in(request.cookies, request.is_secure)
    if (signed_in := directory.session(token)) is None:
        return None
    session, user = signed_in
    return Principal(user, "session", address, session=session)


def principal() -> Principal:
    """Whose the running request is. Raises Refusal("auth.required")."""
    found: Principal | None = g.get("principal")
    if found is None:
        raise Refusal("auth.required", "nobody is signed in, or the key is none")
    return found


def require(
    directory: Accounts, needs: Permission, project_id: str = "", about: str = ""
) -> Principal:
    """The principal, if they may do what needs this, in a project or about a user. What is answered
    to a GET ends with that right.

    Raises Refusal: "auth.required", "auth.password" for who has to choose a password first, or
    "auth.forbidden"; NotFound for a project they may not even see.
    """
    who = principal()
    if who.session and must_choose_password(who.user, who.session):
        raise Refusal("auth.password", "choose a password of your own first")
    _check(directory, who, Right(needs, project_id, about))
    return who


def require_again(directory: Accounts) -> None:
    """Raises as `require` where a right that was asked for since the request came is there no more.
    From here on the end of any of them cuts off the answer to a GET."""
    for right in tuple(grant().rights):
        _check(directory, principal(), right)
    grant().sending = request.method == "GET"


def _check(directory: Accounts, who: Principal, right: Right) -> None:
    if is_allowed(directory, *right):
        return
    if not directory.is_live(who):
        raise Refusal("auth.required", f"the {who.by} has ended since the request came")
    if right.project_id and not is_allowed(directory, "project.view", right.project_id):
        raise NotFound("project", right.project_id)
    if who.engine is not None:
        text = (
            f"the key of a {who.engine} does not open that (it needs {right.needs!r}): use an API"
            f" key of {who.user.name}'s own"
        )
        advice = (
            "make one with `predictd key create`, keep it as a secret of the project (`predictd "
            "project secret`), and send that"
        )
        raise Refusal("auth.forbidden", text, advice=advice)
    raise Refusal("auth.forbidden", f"{who.user.name} may not do that: it needs {right.needs!r}")


def grant() -> Grant:
    """Of the answer to the running request."""
    found: Grant = request.scope["state"]["grant"]
    return found


def must_choose_password(user: User, session: Session) -> bool:
    """Whether somebody is here by a password that was made for them: whoever made it knows it."""
    return user.must_change_password and not session.by_link


def is_allowed(
    directory: Accounts, needs: Permission, project_id: str = "", about: str = ""
) -> bool:
    """Whether the principal may do what needs this, in a project or about a user. Where they may,
    what is answered to a GET ends with that right."""
    who, right = principal(), Right(needs, project_id, about)
    if not directory.allows(who, right):
        return False
    grant().principal = who
    grant().rights.add(right)
    return True


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

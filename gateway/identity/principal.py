"""The principal of a request of the admin API or of a page, by its key or its session."""

from base64 import b64decode

from quart import g, request

from gateway.errors import Refusal
from gateway.identity.accounts import Accounts
from gateway.identity.grants import Grant, Principal, Right
from gateway.identity.permissions import Permission
from gateway.identity.session_cookie import session_in
from store import NotFound, Session, User


def authenticate(accounts: Accounts) -> Principal | None:
    """The principal of the running request; None if it has no valid key or session. A header takes
    precedence over a cookie, also if its key is invalid."""
    address = request.remote_addr or ""
    header = request.headers.get("Authorization")
    if header is not None:
        return accounts.principal(token_in(header), address)
    token = session_in(request.cookies, request.is_secure)
    if (signed_in := accounts.session(token)) is None:
        return None
    session, user = signed_in
    return Principal(user, "session", address, session=session)


def principal() -> Principal:
    """The principal of the running request. Raises Refusal("auth.required")."""
    found: Principal | None = g.get("principal")
    if found is None:
        raise Refusal("auth.required", "not signed in, or the API key is not valid")
    return found


def require(
    accounts: Accounts, needs: Permission, project_id: str = "", about: str = ""
) -> Principal:
    """The principal, if it has the permission, in a project or concerning a user. The response to a
    GET is cut off when the user loses that permission.

    Raises Refusal: "auth.required", "auth.password" if the user has to choose a password first, or
    "auth.forbidden"; NotFound for a project that the user may not view.
    """
    who = principal()
    if who.session and must_choose_password(who.user, who.session):
        raise Refusal("auth.password", "choose a password of your own first")
    _check(accounts, who, Right(needs, project_id, about))
    return who


def require_again(accounts: Accounts) -> None:
    """Raises as `require` if a right that was checked for this request has ended. From now on the
    end of any of them cuts off the response to a GET."""
    for right in tuple(grant().rights):
        _check(accounts, principal(), right)
    grant().sending = request.method == "GET"


def _check(accounts: Accounts, who: Principal, right: Right) -> None:
    if is_allowed(accounts, *right):
        return
    if not accounts.is_live(who):
        raise Refusal("auth.required", f"the {who.by} has ended since the request came")
    if right.project_id and not is_allowed(accounts, "project.view", right.project_id):
        raise NotFound("project", right.project_id)
    if who.workload is not None:
        text = (
            f"the key of a {who.workload} does not open that (it needs {right.needs!r}): use an API"
            f" key of {who.user.name}'s own"
        )
        advice = (
            "make one with `predictd key create`, keep it as a secret of the project "
            "(`predictd env set NAME --secret`), and send that"
        )
        raise Refusal("auth.forbidden", text, advice=advice)
    text = f"{who.user.name} may not do that: it needs {right.needs!r}"
    # A project's owner cannot give this right.
    advice = "ask a site administrator" if right.needs == "site.administer" else ""
    raise Refusal("auth.forbidden", text, advice=advice)


def grant() -> Grant:
    """The grant of the response to the running request."""
    found: Grant = request.scope["state"]["grant"]
    return found


def must_choose_password(user: User, session: Session) -> bool:
    """Whether the user signed in with a password that another person made, and so knows."""
    return user.must_change_password and not session.by_link


def is_allowed(
    accounts: Accounts, needs: Permission, project_id: str = "", about: str = ""
) -> bool:
    """Whether the principal has the permission, in a project or concerning a user. If so, the
    response to a GET ends with that right."""
    who, right = principal(), Right(needs, project_id, about)
    if not accounts.allows(who, right):
        return False
    grant().principal = who
    grant().rights.add(right)
    return True


def bearer(header: str | None) -> str:
    """The token of an Authorization header, or ""."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def token_in(header: str | None) -> str:
    """The key in an Authorization header, or "": a Bearer token, or the user name of Basic, which
    is how legacy keys are sent."""
    scheme, _, rest = (header or "").strip().partition(" ")
    if scheme.lower() != "basic":
        return bearer(header)
    try:
        return b64decode(rest, validate=True).decode().partition(":")[0]
    except ValueError:
        return ""

"""/users, /whoami and /site/links: users, and how they sign in."""

from typing import Any

import msgspec

from gateway.admin.routing import route
from gateway.admin.routing.paging import PAGED, page
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.control.accounts.sign_in import LINK_SECONDS
from gateway.control.accounts.users import NewUser
from gateway.control.records import Session, User
from gateway.errors import Refusal
from gateway.identity.principal import principal


class CreateUser(msgspec.Struct, kw_only=True):
    username: str
    name: str = ""
    email: str = ""
    password: str = ""
    administrator: bool = False


class UpdateUser(msgspec.Struct, kw_only=True, omit_defaults=True):
    full_name: str | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="name")
    email: str | msgspec.UnsetType = msgspec.UNSET
    administrator: bool | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET


class SetPassword(msgspec.Struct, kw_only=True):
    """With an empty password the user cannot sign in with one any more."""

    password: str


class UserRoutes:
    def __init__(self, control: Control) -> None:
        self._users = control.users
        self._sign_in = control.sign_in
        self._accounts = control.accounts

    @route.get("/users", "site.administer", "list the users", query=PAGED)
    async def list(self) -> Json:
        return await page("users", [user_json(user) for user in self._accounts.users()])

    @route.post("/users", "site.administer", "create a user", audit="user.create")
    async def create(self, body: CreateUser) -> Json:
        new = NewUser(
            name=body.username,
            full_name=body.name,
            email=body.email,
            password=body.password,
            administrator=body.administrator,
        )
        user, made = await self._users.create(new)
        # A password that was generated here is in this reply only.
        return user_json(user) | ({"password": made} if made else {})

    @route.get("/users/<username>", "self", "show a user")
    async def show(self, username: str) -> Json:
        return user_json(self._users.get(username))

    @route.patch(
        "/users/<username>", "site.administer", "change or disable a user", audit="user.update"
    )
    async def update(self, username: str, body: UpdateUser) -> Json:
        changes: dict[str, Any] = {
            name: value
            for name, value in msgspec.structs.asdict(body).items()
            if value is not msgspec.UNSET
        }
        user = self._users.get(username)
        return user_json(await self._users.update(user, changes))

    @route.delete(
        "/users/<username>",
        "site.administer",
        "delete a user and their keys",
        audit="user.delete",
    )
    async def delete(self, username: str) -> Json:
        await self._users.delete(self._users.get(username))
        return {}

    @route.put(
        "/users/<username>/password",
        "site.administer",
        "set a user's password",
        audit="user.set_password",
    )
    async def set_password(self, username: str, body: SetPassword) -> Json:
        """Another user has to change the password that is set for them."""
        user = self._users.get(username)
        must_change = user.id != principal().user.id
        changed = await self._users.set_password(user, body.password, must_change=must_change)
        return user_json(changed)

    @route.get(
        "/users/<username>/sessions", "self", "list the browsers that are signed in", query=PAGED
    )
    async def sessions(self, username: str) -> Json:
        found = self._sign_in.sessions_of(self._users.get(username))
        return await page("sessions", [_session_json(each) for each in found])

    @route.delete(
        "/users/<username>/sessions/<login_id>",
        "self",
        "sign a browser out",
        audit="user.end_session",
    )
    async def end_session(self, username: str, login_id: str) -> Json:
        await self._sign_in.end(self._users.get(username), login_id)
        return {}

    @route.get("/whoami", "any", "show the user of this request and how it is authenticated")
    async def whoami(self) -> Json:
        who = principal()
        return user_json(who.user) | {"by": who.by}

    @route.post(
        "/site/links",
        "site.administer",
        "create a link that signs in once; with `admin.key` only",
        audit="link.create",
    )
    async def create_link(self) -> Json:
        # The session of the link would outlive a key that is revoked.
        if (by := principal().by) != "admin key":
            text = f"cannot create a link with the {by}: it needs `admin.key`"
            raise Refusal("auth.forbidden", text)
        token = self._sign_in.new_link(principal().user)
        return {"token": token, "seconds": LINK_SECONDS}


def _session_json(session: Session) -> Json:
    """`current`: this session is that of the request."""
    own = principal().session
    return {
        "session_id": session.id,
        "address": session.address,
        "user_agent": session.agent,
        "by_link": session.by_link,
        "current": own is not None and own.id == session.id,
        "created_at": session.created_at,
        "expires_at": session.expires_at,
    }


def user_json(user: User) -> Json:
    return {
        "username": user.name,
        "name": user.full_name or user.name,
        "email": user.email,
        "administrator": user.administrator,
        "disabled": user.disabled,
        "has_password": bool(user.password),
        "must_change_password": user.must_change_password,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    }

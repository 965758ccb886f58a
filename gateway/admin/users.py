"""/users, /whoami and /site/links: who signs in."""

from typing import Any

import msgspec

import store
from gateway.admin.paging import PAGED, page
from gateway.admin.router import Router
from gateway.admin.schemas import Json, user_json
from gateway.control import Control
from gateway.control.accounts.sign_in import LINK_SECONDS
from gateway.control.accounts.users import NewUser
from gateway.errors import Refusal
from gateway.identity.principal import principal
from store import User


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
    """Empty: the user can no longer sign in by a password."""

    password: str


def add_routes(routing: Router, control: Control) -> None:
    users, directory = control.users, control.context.accounts

    async def index() -> Json:
        return await page("users", [user_json(user) for user in directory.users()])

    async def create(asked: CreateUser) -> Json:
        new = NewUser(
            name=asked.username,
            full_name=asked.name,
            email=asked.email,
            password=asked.password,
            administrator=asked.administrator,
        )
        user, made = await users.create(new)
        # Of a password that was made here nobody else knows.
        return user_json(user) | ({"password": made} if made else {})

    async def show(username: str) -> Json:
        return user_json(find_user(control, username))

    async def update(username: str, asked: UpdateUser) -> Json:
        changes: dict[str, Any] = {
            name: value
            for name, value in msgspec.structs.asdict(asked).items()
            if value is not msgspec.UNSET
        }
        return user_json(await users.update(find_user(control, username), changes))

    async def delete(username: str) -> Json:
        await users.delete(find_user(control, username))
        return {}

    async def set_password(username: str, asked: SetPassword) -> Json:
        """Somebody else's is one that they have to change."""
        user = find_user(control, username)
        must_change = user.id != principal().user.id
        return user_json(await users.set_password(user, asked.password, must_change=must_change))

    async def whoami() -> Json:
        who = principal()
        return user_json(who.user) | {"by": who.by}

    async def new_link() -> Json:
        # The session that comes of it would outlive a key that is revoked.
        if (by := principal().by) != "admin key":
            text = f"a link is made by whoever holds the data folder, not by {by}"
            raise Refusal("auth.forbidden", text)
        token = control.sign_in.new_link(principal().user)
        return {"token": token, "seconds": LINK_SECONDS}

    one = "/users/<username>"
    routing.add("GET", "/users", "site.administer", "the users", index, query=PAGED)
    routing.add(
        "POST", "/users", "site.administer", "make a user", create, CreateUser, action="user.create"
    )
    routing.add("GET", one, "self", "one user", show)
    routing.add(
        "PATCH",
        one,
        "site.administer",
        "change or disable a user",
        update,
        UpdateUser,
        action="user.update",
    )
    routing.add(
        "DELETE",
        one,
        "site.administer",
        "delete a user with all keys",
        delete,
        action="user.delete",
    )
    routing.add(
        "PUT",
        f"{one}/password",
        "site.administer",
        "set a password",
        set_password,
        SetPassword,
        action="user.set_password",
    )
    routing.add("GET", "/whoami", "any", "who asks, and by what", whoami)
    routing.add(
        "POST",
        "/site/links",
        "site.administer",
        "a link that signs in once; for `admin.key` alone",
        new_link,
        action="link.create",
    )


def find_user(control: Control, username: str) -> User:
    """The user of this name. Raises NotFound."""
    user = control.context.accounts.user(username)
    if user is None:
        raise store.NotFound("user", username)
    return user

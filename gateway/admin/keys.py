"""/users/{name}/v2_keys, /model_keys and /legacy_keys: the keys with which programs authenticate.

A key is in one reply only: that to the request which creates it. The three kinds have the same
routes. A key of `v2_keys` opens the admin API and models, one of `model_keys` models only. One of
`legacy_keys` is for clients that send it as the user of HTTP Basic.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from gateway.admin.routing import route
from gateway.admin.routing.paging import PAGED, page
from gateway.admin.routing.parameters import parse_moment
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.control.accounts.keys import NewKey
from gateway.control.records import Key, KeyKind, now
from gateway.identity.principal import principal
from gateway.route_declaration import H


class _Collection(NamedTuple):
    name: str
    kind: KeyKind
    one: str
    all: str


_COLLECTIONS = (
    _Collection("v2_keys", "api", "an API key", "API keys"),
    _Collection("model_keys", "model", "a Model API key", "Model API keys"),
    _Collection("legacy_keys", "legacy", "a legacy key", "legacy keys"),
)
COLLECTION_OF = {each.kind: each.name for each in _COLLECTIONS}


class CreateKey(msgspec.Struct, kw_only=True):
    """`expiry_date` is a time such as 2027-01-31T00:00:00Z, or "never". Without it the key expires
    in a year, or with the key that creates it if that expires sooner."""

    comment: str = ""
    expiry_date: str = ""


def _each_kind(
    method: Callable[..., Callable[[H], H]],
    path: str,
    summary: str,
    *,
    audit: str = "",
    query: tuple[str, ...] = (),
) -> Callable[[H], H]:
    """Declares the route of each kind. `{one}` and `{all}` in the summary name the keys."""

    def decorate(handler: H) -> H:
        for each in reversed(_COLLECTIONS):
            declare = method(
                f"/users/<username>/{each.name}{path}",
                "self",
                summary.format(one=each.one, all=each.all),
                audit=audit,
                query=query,
                constants={"kind": each.kind},
            )
            handler = declare(handler)
        return handler

    return decorate


class KeyRoutes:
    def __init__(self, control: Control) -> None:
        self._keys = control.keys
        self._users = control.users

    @_each_kind(route.get, "", "list a user's {all}", query=PAGED)
    async def list(self, username: str, kind: KeyKind) -> Json:
        user = self._users.get(username)
        return await page(COLLECTION_OF[kind], [_json(key) for key in self._keys.of(user, kind)])

    @_each_kind(route.post, "", "create {one}, which only this reply shows", audit="key.create")
    async def create(self, username: str, kind: KeyKind, body: CreateKey) -> Json:
        never = body.expiry_date == "never"
        date = body.expiry_date if not never else ""
        new = NewKey(
            kind=kind,
            comment=body.comment,
            expires=parse_moment("expiry_date", date) if date else None,
            never=never,
        )
        user = self._users.get(username)
        key, text = await self._keys.create(user, new, principal())
        return _json(key) | {"api_key": text}

    @_each_kind(route.delete, "", "revoke a user's {all}", audit="key.revoke_all")
    async def revoke_all(self, username: str, kind: KeyKind) -> Json:
        await self._keys.revoke_all(self._users.get(username), kind)
        return {}

    @_each_kind(route.delete, "/<key_id>", "revoke {one}", audit="key.revoke")
    async def revoke(self, username: str, key_id: str, kind: KeyKind) -> Json:
        await self._keys.revoke(self._users.get(username), kind, key_id)
        return {}


def _json(key: Key) -> Json:
    return {
        "key_id": key.id,
        "comment": key.comment,
        "created_at": key.created_at,
        "expiry_date": key.expires_at,
        "expired": key.expires_at is not None and key.expires_at <= now(),
    }

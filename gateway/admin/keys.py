"""/users/{name}/v2_keys, /model_keys and /legacy_keys: what programs sign in with.

Each is shown once, in the answer to the request that makes it. One kind is as the other: a key of
`v2_keys` opens the admin API and models, one of `model_keys` models, one of `legacy_keys` is for
clients that send it as the user of HTTP Basic.
"""

import msgspec

from gateway.admin.paging import PAGED, page
from gateway.admin.router import Router
from gateway.admin.schemas import Json
from gateway.admin.timestamps import moment
from gateway.admin.users import find_user
from gateway.control import Control
from gateway.control.accounts.keys import NewKey
from gateway.identity.principal import principal
from store import Key, KeyKind, now

_COLLECTIONS: dict[str, tuple[KeyKind, str]] = {
    "v2_keys": ("api", "API keys"),
    "model_keys": ("model", "Model API keys"),
    "legacy_keys": ("legacy", "keys of the old kind"),
}
COLLECTION_OF = {kind: collection for collection, (kind, _) in _COLLECTIONS.items()}


class CreateKey(msgspec.Struct, kw_only=True):
    """`expiry_date` is a time such as 2027-01-31T00:00:00Z, or "never"; none: in a year, or with
    the key that asks, if that ends sooner."""

    comment: str = ""
    expiry_date: str = ""


def add_routes(routing: Router, control: Control) -> None:
    for collection, (kind, what) in _COLLECTIONS.items():
        _add_kind(routing, control, f"/users/<username>/{collection}", kind, what)


def _add_kind(routing: Router, control: Control, many: str, kind: KeyKind, what: str) -> None:
    keys, plural = control.keys, many.rpartition("/")[2]

    async def index(username: str) -> Json:
        return await page(
            plural, [_json(key) for key in keys.of(find_user(control, username), kind)]
        )

    async def create(username: str, asked: CreateKey) -> Json:
        never = asked.expiry_date == "never"
        given = asked.expiry_date if not never else ""
        new = NewKey(
            kind=kind,
            comment=asked.comment,
            expires=moment("expiry_date", given) if given else None,
            never=never,
        )
        key, text = await keys.create(find_user(control, username), new, principal())
        return _json(key) | {"api_key": text}

    async def revoke_all(username: str) -> Json:
        await keys.revoke_all(find_user(control, username), kind)
        return {}

    async def revoke(username: str, key_id: str) -> Json:
        await keys.revoke(find_user(control, username), kind, key_id)
        return {}

    routing.add("GET", many, "self", f"a user's {what}", index, query=PAGED)
    routing.add(
        "POST",
        many,
        "self",
        "make one, which is shown once",
        create,
        CreateKey,
        action="key.create",
    )
    routing.add("DELETE", many, "self", "revoke them all", revoke_all, action="key.revoke_all")
    routing.add("DELETE", f"{many}/<key_id>", "self", "revoke one", revoke, action="key.revoke")


def _json(key: Key) -> Json:
    return {
        "key_id": key.id,
        "comment": key.comment,
        "created_at": key.created_at,
        "expiry_date": key.expires_at,
        "expired": key.expires_at is not None and key.expires_at <= now(),
    }

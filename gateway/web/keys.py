"""/keys: one's own keys, made, shown once, revoked."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from quart import Response

import store
from gateway.admin.keys import COLLECTION_OF
from gateway.control import Control
from gateway.control.accounts.keys import NewKey
from gateway.errors import Refusal
from gateway.identity.principal import principal
from gateway.web.routing import PageRequest, PageRouter, redirect
from store import Key, KeyKind

PATH = "/keys"
KINDS: dict[KeyKind, str] = {
    "model": "calling models",
    "api": "everything you may do",
    "legacy": "everything, old format",
}
LIFETIMES: dict[str, timedelta | None] = {
    "1 day": timedelta(days=1),
    "30 days": timedelta(days=30),
    "1 year": timedelta(days=365),
    "never": None,
}
_USUAL = "1 year"


class KeyRow(NamedTuple):
    """A key as the page shows it."""

    id: str
    kind: KeyKind
    comment: str
    created_at: str
    expires_at: str | None
    expired: bool


def key_row(key: Key, now: str) -> KeyRow:
    expired = key.expires_at is not None and key.expires_at <= now
    return KeyRow(key.id, key.kind, key.comment, key.created_at, key.expires_at, expired)


def new_key(form: Mapping[str, str], now: datetime) -> NewKey:
    """What a form asks for. Raises Refusal for what its page does not offer."""
    kind, lifetime = form.get("kind", ""), form.get("expires", "")
    comment = form.get("comment", "").strip()
    for known in KINDS:
        if kind == known and lifetime in LIFETIMES:
            life = LIFETIMES[lifetime]
            return NewKey(
                kind=known,
                comment=comment,
                expires=now + life if life else None,
                never=life is None,
            )
    raise Refusal("argument.invalid", "the form was not filled in as the page has it")


def add_pages(routing: PageRouter, control: Control) -> None:
    def page(visit: PageRequest, *, made: str = "", refused: Refusal | None = None) -> Response:
        now = store.now()
        keys = [key for kind in KINDS for key in control.keys.of(visit.user, kind)]
        return routing.reply(
            "keys.html",
            visit.visitor,
            refused=refused,
            here=PATH,
            made=made,
            kinds=KINDS,
            lifetimes=list(LIFETIMES),
            usual_lifetime=_USUAL,
            keys=[key_row(key, now) for key in keys],
        )

    async def show(visit: PageRequest) -> Response:
        return page(visit)

    async def make(visit: PageRequest) -> Response:
        try:
            asked = new_key(visit.form, datetime.now(UTC))
            place = f"/users/{visit.user.name}/{COLLECTION_OF[asked.kind]}"
            act = visit.act("key.create", place, makes=True)
            _, text = await control.audit_log.run_audited(
                act, control.keys.create, visit.user, asked, principal()
            )
        except Refusal as refused:
            await routing.refused(refused.code)
            return page(visit, refused=refused)
        # Not by way of another page: then it would have to be kept in between.
        return page(visit, made=text)

    async def revoke(visit: PageRequest, key_id: str) -> Response:
        kinds = {key.id: key.kind for key in control.context.accounts.keys_of(visit.user)}
        if key_id not in kinds:
            raise store.NotFound("key", key_id)
        kind = kinds[key_id]
        act = visit.act("key.revoke", f"/users/{visit.user.name}/{COLLECTION_OF[kind]}/{key_id}")
        await control.audit_log.run_audited(act, control.keys.revoke, visit.user, kind, key_id)
        return redirect(PATH)

    routing.add("GET", PATH, "one's own keys", show)
    routing.add("POST", PATH, "make a key, and show it once", make, action="key.create")
    routing.add("POST", f"{PATH}/<key_id>/revoke", "revoke a key", revoke, action="key.revoke")

"""/keys: a user's own keys. They are created, shown once, and revoked."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from quart import Response

from gateway.admin.keys import COLLECTION_OF
from gateway.control import Control
from gateway.control.accounts.keys import NewKey
from gateway.control.records import Key, KeyKind, NotFound
from gateway.control.records import now as record_time
from gateway.errors import Refusal
from gateway.identity.principal import principal
from gateway.web import routing
from gateway.web.routing import PageRequest, PageRouter, redirect

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
    """The key that a form asks for. Raises Refusal for a choice that its page does not offer."""
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
    raise Refusal("argument.invalid", "the form has a choice that its page does not offer")


class KeyPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._keys = control.keys
        self._accounts = control.accounts
        self._audit_log = control.audit_log
        self._router = router

    @routing.get(PATH, "list one's own keys")
    async def show(self, page: PageRequest) -> Response:
        return self._page(page)

    @routing.post(PATH, "create a key, and show it once", audit="key.create")
    async def create(self, page: PageRequest) -> Response:
        try:
            new = new_key(page.form, datetime.now(UTC))
            collection = f"/users/{page.user.name}/{COLLECTION_OF[new.kind]}"
            event = page.audit_event("key.create", collection, makes=True)
            _, text = await self._audit_log.run_audited(
                event, self._keys.create, page.user, new, principal()
            )
        except Refusal as refused:
            await self._router.audit_refusal(refused.code)
            return self._page(page, refused=refused)
        # Shown in this answer: to show it on another page, it would have to be stored meanwhile.
        return self._page(page, created=text)

    @routing.post(f"{PATH}/<key_id>/revoke", "revoke a key", audit="key.revoke")
    async def revoke(self, page: PageRequest, key_id: str) -> Response:
        kinds = {key.id: key.kind for key in self._accounts.keys_of(page.user)}
        if key_id not in kinds:
            raise NotFound("key", key_id)
        kind = kinds[key_id]
        path = f"/users/{page.user.name}/{COLLECTION_OF[kind]}/{key_id}"
        event = page.audit_event("key.revoke", path)
        await self._audit_log.run_audited(event, self._keys.revoke, page.user, kind, key_id)
        return redirect(PATH)

    def _page(
        self, page: PageRequest, *, created: str = "", refused: Refusal | None = None
    ) -> Response:
        now = record_time()
        keys = [key for kind in KINDS for key in self._keys.of(page.user, kind)]
        return self._router.reply(
            "keys.html",
            page.viewer,
            refused=refused,
            here=PATH,
            created=created,
            kinds=KINDS,
            lifetimes=list(LIFETIMES),
            usual_lifetime=_USUAL,
            keys=[key_row(key, now) for key in keys],
        )

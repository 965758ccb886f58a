"""/settings/keys: a user's own keys. They are created, shown once, and revoked."""

import re
import secrets
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
from gateway.web.routing import KEYS, PageRequest, PageRouter, redirect
from gateway.web.settings import TABS

PATH = KEYS
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
_SHORT_ID = re.compile("[0-9a-f]{8}")
_REMEMBERED = 1000


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
        # The forms that were sent last.
        self._sent: dict[str, None] = {}

    @routing.get(PATH, "list one's own keys")
    async def show(self, page: PageRequest) -> Response:
        revoked = page.query.get("revoked", "")
        return await self._page(page, revoked=revoked if _SHORT_ID.fullmatch(revoked) else "")

    @routing.post(PATH, "create a key, and show it once", audit="key.create")
    async def create(self, page: PageRequest) -> Response:
        try:
            new = new_key(page.form, datetime.now(UTC))
            self._check_once(page.form.get("once", ""))
            collection = f"/users/{page.user.name}/{COLLECTION_OF[new.kind]}"
            event = page.audit_event("key.create", collection, makes=True)
            _, text = await self._audit_log.run_audited(
                event, self._keys.create, page.user, new, principal()
            )
        except Refusal as refused:
            return await self._page(page, refused=refused)
        # Shown in this answer: to show it on another page, it would have to be stored meanwhile.
        return await self._page(page, created=text)

    @routing.post(f"{PATH}/<key_id>/revoke", "revoke a key", audit="key.revoke")
    async def revoke(self, page: PageRequest, key_id: str) -> Response:
        kinds = {key.id: key.kind for key in self._accounts.keys_of(page.user)}
        if key_id not in kinds:
            raise NotFound("key", key_id)
        kind = kinds[key_id]
        path = f"/users/{page.user.name}/{COLLECTION_OF[kind]}/{key_id}"
        event = page.audit_event("key.revoke", path)
        await self._audit_log.run_audited(event, self._keys.revoke, page.user, kind, key_id)
        return redirect(f"{PATH}?revoked={key_id[:8]}")

    def _check_once(self, once: str) -> None:
        """Refuses a form that was sent before, as when its page is loaded again."""
        if once in self._sent:
            text = "this form was sent before, and its key was shown then"
            raise Refusal("argument.invalid", text)
        if once:
            self._sent[once] = None
            if len(self._sent) > _REMEMBERED:
                del self._sent[next(iter(self._sent))]

    async def _page(
        self,
        page: PageRequest,
        *,
        created: str = "",
        revoked: str = "",
        refused: Refusal | None = None,
    ) -> Response:
        now = record_time()
        keys = [key for kind in KINDS for key in self._keys.of(page.user, kind)]
        return await self._router.reply(
            "settings/keys.html",
            page.viewer,
            refused=refused,
            here=PATH,
            tabs=TABS,
            tab=PATH,
            created=created,
            revoked=revoked,
            once=secrets.token_hex(8),
            kinds=KINDS,
            lifetimes=list(LIFETIMES),
            usual_lifetime=_USUAL,
            keys=[key_row(key, now) for key in keys],
        )

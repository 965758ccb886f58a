"""/settings/keys: a user's own keys. They are created, shown once, and revoked."""

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from quart import Response

from gateway.admin.keys import COLLECTION_OF
from gateway.control import Control
from gateway.control.records import KeyKind, NotFound, as_text
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.api import url
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


class AskedKey(NamedTuple):
    """The key that a form asks for, and the body of the API's request for it."""

    kind: KeyKind
    body: dict[str, str]


def asked_key(form: Mapping[str, str], now: datetime) -> AskedKey:
    """Raises Refusal for a choice that the page does not offer."""
    kind, lifetime = form.get("kind", ""), form.get("expires", "")
    for known in KINDS:
        if kind == known and lifetime in LIFETIMES:
            life = LIFETIMES[lifetime]
            expires = as_text(now + life) if life else "never"
            comment = form.get("comment", "").strip()
            return AskedKey(known, {"comment": comment, "expiry_date": expires})
    raise Refusal("argument.invalid", "the form has a choice that its page does not offer")


class KeyPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
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
            asked = asked_key(page.form, datetime.now(UTC))
            self._check_once(page.form.get("once", ""))
        except Refusal as refused:
            await self._router.audit_refusal(refused.code)
            return await self._page(page, refused=refused)
        try:
            made = await page.api.post(_collection(page, asked.kind), asked.body)
        except Refusal as refused:
            return await self._page(page, refused=refused)
        # Shown in this answer: to show it on another page, it would have to be stored meanwhile.
        return await self._page(page, created=made["api_key"])

    @routing.post(f"{PATH}/<key_id>/revoke", "revoke a key", audit="key.revoke")
    async def revoke(self, page: PageRequest, key_id: str) -> Response:
        for each in await _keys(page):
            if each["key_id"] == key_id:
                await page.api.delete(_collection(page, each["kind"]) + url(key_id))
                return redirect(f"{PATH}?revoked={key_id[:8]}")
        raise NotFound("key", key_id)

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
            keys=await _keys(page),
        )


def _collection(page: PageRequest, kind: KeyKind) -> str:
    return url("users", page.user.name, COLLECTION_OF[kind])


async def _keys(page: PageRequest) -> list[dict[str, Any]]:
    """The user's keys of all kinds."""
    return [
        {**key, "kind": kind}
        for kind in KINDS
        for key in await page.api.items(_collection(page, kind), COLLECTION_OF[kind])
    ]

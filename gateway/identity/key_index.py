"""Valid keys in memory, checked without measurable cost on the hot path.

A caller sends a key with each request. The first time, its id is looked up and its secret is hashed
and compared. The result is remembered with the head of the request (`ModelCall`), since clients
repeat their heads. From then on a request costs three checks: whether the key is valid, whether it
has expired, and whether its user may call this model. A revoked key, a disabled user or an ended
membership changes what these checks read, so it holds for the next request, remembered or not.
"""

import time
from collections.abc import Callable, Container

from gateway.errors import Refusal
from gateway.identity.keys import parse_key, verify
from store import Key

# What clients of CDSW look for.
CDSW_FORBIDDEN = {
    "User APikey not authorized to access model": (
        "Check APIKEY permissions or model authentication permissions"
    )
}


class IndexedKey:
    """One key. `expires` is in seconds of the wall clock."""

    __slots__ = ("digest", "expires", "flow", "key_id", "kind", "revoked", "user_id")

    def __init__(self, key: Key, expires: float) -> None:
        self.key_id = key.id
        self.kind = key.kind
        self.user_id = key.user_id
        self.digest = key.digest
        self.expires = expires
        # The flow of its requests: the unit of fair service.
        self.flow = f"key {key.id}"
        self.revoked = False


class KeyIndex:
    """All valid keys. Every key calls models; all but Model API keys also open the admin API."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._by_id: dict[str, IndexedKey] = {}

    def put(self, key: Key, expires: float) -> None:
        """Adds a key; `expires` is inf for one that never expires.

        A key that is in the index keeps its record: heads of requests remember that record, and a
        second one would leave the first valid there after a revocation.
        """
        self._by_id.setdefault(key.id, IndexedKey(key, expires))

    def revoke(self, key_id: str) -> None:
        """Makes the key invalid, from the next request on."""
        if (key := self._by_id.pop(key_id, None)) is not None:
            key.revoked = True

    def find(self, text: str) -> IndexedKey | None:
        """The key with this text. Takes as long for a wrong key as for an unknown one."""
        shown = parse_key(text)
        key = self._by_id.get(shown.id)
        digest = key.digest if key is not None else None
        return key if verify(shown, digest) else None

    def is_valid(self, key_id: str) -> bool:
        """Whether the key with this id is valid now."""
        key = self._by_id.get(key_id)
        return key is not None and self._now() < key.expires

    def find_valid(self, text: str) -> IndexedKey | None:
        """The key with this text, unless it has expired."""
        key = self.find(text)
        return key if key is not None and self._now() < key.expires else None

    def check(
        self, known: IndexedKey | None, text: str, model: str, may_call: Container[str]
    ) -> IndexedKey:
        """The key with this text, if its user may call the model of this name. `known` is what an
        earlier check returned. Raises Refusal."""
        key = known
        if key is None or key.revoked or self._now() >= key.expires:
            # Also for a known key: an expired key takes as long as an unknown one.
            key = self.find_valid(text)
        if key is None:
            # One text for all causes: it does not show which keys exist.
            raise Refusal("model.unauthorized", "no valid Model API key came with the request")
        if key.user_id not in may_call:
            text = f"the key's user may not call the model {model!r}"
            raise Refusal("model.forbidden", text, extra=CDSW_FORBIDDEN)
        return key

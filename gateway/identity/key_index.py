"""Who calls: keys that are let in, from memory, without measurable cost on the hot path.

A caller shows a key with each request. The first time, its id is looked up and its secret hashed
and compared; what came of it is remembered with the head of the request (`ModelCall`), as clients
repeat theirs. From then on a request costs three looks: is the key still one, has it expired, may
its user call this model. Revoking a key, disabling a user or ending a membership changes what these
looks see, so it holds for the next request, whoever has remembered what.
"""

import time
from collections.abc import Callable, Container

from gateway.errors import Refusal
from gateway.identity.keys import parse_key, verify
from store import Key

# What clients of CDSW look for.
FORBIDDEN = {
    "User APikey not authorized to access model": (
        "Check APIKEY permissions or model authentication permissions"
    )
}


class IndexedKey:
    """One key. `live` until it is revoked, `expires` in seconds of the wall clock."""

    __slots__ = ("digest", "expires", "flow", "key_id", "kind", "live", "user_id")

    def __init__(self, key: Key, expires: float) -> None:
        self.key_id = key.id
        self.kind = key.kind
        self.user_id = key.user_id
        self.digest = key.digest
        self.expires = expires
        # Whose requests are served fairly against those of others.
        self.flow = f"key {key.id}"
        self.live = True


class KeyIndex:
    """All keys that are let in: to models, and but for Model API keys to the admin API."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._by_id: dict[str, IndexedKey] = {}

    def put(self, key: Key, expires: float) -> None:
        """A key is let in; `expires` is inf where it never does.

        One that is let in already stays who it is: heads of requests remember it, and a second of
        the same key would outlive its revocation there.
        """
        self._by_id.setdefault(key.id, IndexedKey(key, expires))

    def revoke(self, key_id: str) -> None:
        """The key is none any more, from the next request on."""
        if (caller := self._by_id.pop(key_id, None)) is not None:
            caller.live = False

    def find(self, text: str) -> IndexedKey | None:
        """The caller whose key this is. Takes as long for a wrong key as for an unknown one."""
        shown = parse_key(text)
        caller = self._by_id.get(shown.id)
        digest = caller.digest if caller is not None else None
        return caller if verify(shown, digest) else None

    def is_live(self, key_id: str) -> bool:
        """Whether the key of this id opens anything now."""
        caller = self._by_id.get(key_id)
        return caller is not None and self._now() < caller.expires

    def valid(self, text: str) -> IndexedKey | None:
        """The caller whose key this is, unless it has expired."""
        caller = self.find(text)
        return caller if caller is not None and self._now() < caller.expires else None

    def check(
        self, known: IndexedKey | None, text: str, model: str, may_call: Container[str]
    ) -> IndexedKey:
        """Whose key this is, if he may call the model of this name; `known` is who it was before.
        Raises Refusal."""
        caller = known
        if caller is None or not caller.live or self._now() >= caller.expires:
            # Also for one that was known: an expired key takes as long as one that never was.
            caller = self.valid(text)
        if caller is None:
            # One text for all: who has no key learns nothing of those there are.
            raise Refusal("model.unauthorized", "no valid Model API key came with the request")
        if caller.user_id not in may_call:
            text = f"the key's user may not call the model {model!r}"
            raise Refusal("model.forbidden", text, extra=FORBIDDEN)
        return caller

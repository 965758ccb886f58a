"""Which pool answers for which model, and for whom: access key to pool, all from memory.

The hot path looks here and nowhere else. `control` keeps it true: every change is one plain
assignment, so a request sees the old pool or the new one and never neither.
"""

from collections.abc import Callable

from gateway.identity.key_index import KeyIndex
from store import Model
from workers import Pool


class Endpoint:
    """One model as callers reach it. `pool` is None while nothing of it is deployed; `may_call` are
    the ids of the users whose keys open it, None: it takes calls without a key."""

    __slots__ = ("access_key", "may_call", "model", "model_id", "name", "pool")

    def __init__(self, model: Model, access_key: str, may_call: frozenset[str] | None) -> None:
        self.model = model
        self.model_id = model.id
        self.name = model.name
        self.access_key = access_key
        self.pool: Pool | None = None
        self.may_call = may_call


class Endpoints:
    """All models that can be called. `key_of` tells a model's access key, `may_call` whose keys
    open it, `callers` which keys there are."""

    def __init__(
        self,
        key_of: Callable[[Model], str],
        may_call: Callable[[Model], frozenset[str] | None],
        callers: KeyIndex,
    ) -> None:
        self.key_of = key_of
        self._may_call = may_call
        self.callers = callers
        self._by_key: dict[str, Endpoint] = {}
        self._by_id: dict[str, Endpoint] = {}
        # The one look of the hot path, without a call in between.
        self.by_access_key = self._by_key.get

    def put_model(self, model: Model) -> None:
        """A model is there, or has changed; an old access key is nobody's at once."""
        old = self._by_id.get(model.id)
        target = Endpoint(model, self.key_of(model), self._may_call(model))
        if old is not None:
            target.pool = old.pool
            del self._by_key[old.access_key]
        self._by_id[model.id] = self._by_key[target.access_key] = target

    def forget_model(self, model_id: str) -> None:
        if (target := self._by_id.pop(model_id, None)) is not None:
            del self._by_key[target.access_key]

    def refresh_permissions(self, project_id: str = "") -> None:
        """Users, memberships or projects have changed, and with them who may call what; where it
        can only be the models of one project, it is named."""
        for target in self._by_id.values():
            if project_id in ("", target.model.project_id):
                target.may_call = self._may_call(target.model)

    def may_still_call(self, model_id: str, user_id: str) -> bool:
        """Whether the keys of a user or engine open the model. Of one that is gone it is not
        asked: its pool has said so."""
        target = self._by_id.get(model_id)
        return target is None or target.may_call is None or user_id in target.may_call

    def set_pool(self, model_id: str, pool: Pool | None) -> None:
        """From now on `pool` answers for the model; None: nothing does."""
        if (target := self._by_id.get(model_id)) is not None:
            target.pool = pool

    def pool_of(self, model_id: str) -> Pool | None:
        target = self._by_id.get(model_id)
        return target.pool if target else None

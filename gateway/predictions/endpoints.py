"""The models that can be called: from access key to pool, in memory.

The hot path reads this and nothing else. `control` keeps it up to date. Each change is one
assignment, so a request sees the old pool or the new one, never neither.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.identity.key_index import KeyIndex
from gateway.predictions.traffic import ModelTraffic
from store import Model
from workers import Pool


class Endpoint:
    """One model as callers see it. `pool` is None while the model is not deployed, or waits for
    what `absence` says. `may_call` are the ids of the users whose keys may call it; None allows
    calls without a key. `traffic` counts its requests."""

    __slots__ = (
        "absence",
        "access_key",
        "may_call",
        "model",
        "model_id",
        "name",
        "pool",
        "traffic",
    )

    def __init__(self, model: Model, access_key: str, may_call: frozenset[str] | None) -> None:
        self.model = model
        self.model_id = model.id
        self.name = model.name
        self.access_key = access_key
        self.pool: Pool | None = None
        self.absence = ""
        self.may_call = may_call
        self.traffic = ModelTraffic()


class Endpoints:
    """All endpoints. `key_of` gives a model's access key, `may_call` the users who may call it,
    `callers` the keys of all users."""

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
        # The lookup of the hot path, without a call in between.
        self.by_access_key = self._by_key.get

    def put_model(self, model: Model) -> None:
        """Adds or updates a model. An old access key stops working at once."""
        old = self._by_id.get(model.id)
        endpoint = Endpoint(model, self.key_of(model), self._may_call(model))
        if old is not None:
            endpoint.pool, endpoint.absence = old.pool, old.absence
            endpoint.traffic = old.traffic
            del self._by_key[old.access_key]
        self._by_id[model.id] = self._by_key[endpoint.access_key] = endpoint

    def forget_model(self, model_id: str) -> None:
        if (endpoint := self._by_id.pop(model_id, None)) is not None:
            del self._by_key[endpoint.access_key]

    def refresh_permissions(self, project_id: str = "") -> None:
        """Updates who may call the models of a project, or all models, after a change of users,
        collaborators or projects."""
        for endpoint in self._by_id.values():
            if project_id in ("", endpoint.model.project_id):
                endpoint.may_call = self._may_call(endpoint.model)

    def may_still_call(self, model_id: str, user_id: str) -> bool:
        """Whether the keys of a user or workload may call the model. True for a deleted model,
        because its pool refuses by itself."""
        endpoint = self._by_id.get(model_id)
        return endpoint is None or endpoint.may_call is None or user_id in endpoint.may_call

    def set_pool(self, model_id: str, pool: Pool | None) -> None:
        """Sends calls of the model to `pool`; None: to no pool."""
        if (endpoint := self._by_id.get(model_id)) is not None:
            endpoint.pool = pool

    @contextmanager
    def absent(self, model_id: str, reason: str) -> Iterator[None]:
        """Callers are told the reason while a model that is deployed waits for its pool; then the
        earlier reason. "": the model is not deployed."""
        if not reason:
            yield
            return
        earlier = self._set_absence(model_id, reason)
        try:
            yield
        finally:
            self._set_absence(model_id, earlier)

    def _set_absence(self, model_id: str, reason: str) -> str:
        """Returns the earlier reason."""
        earlier = ""
        if (endpoint := self._by_id.get(model_id)) is not None:
            earlier, endpoint.absence = endpoint.absence, reason
        return earlier

    def all(self) -> list[Endpoint]:
        """The endpoints of all models."""
        return list(self._by_id.values())

    def find(self, model_id: str) -> Endpoint | None:
        return self._by_id.get(model_id)

    def pool_of(self, model_id: str) -> Pool | None:
        endpoint = self._by_id.get(model_id)
        return endpoint.pool if endpoint else None

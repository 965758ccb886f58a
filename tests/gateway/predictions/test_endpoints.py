"""Routes: which pool answers for which model."""

from typing import cast

from gateway.identity.key_index import KeyIndex
from gateway.predictions.endpoints import Endpoint, Endpoints
from store import Model, new_id
from workers import Pool

POOL = cast(Pool, object())


def key_of(model: Model) -> str:
    return f"{model.id}-{model.key_generation}"


def nobody(model: Model) -> frozenset[str]:
    return frozenset()


def a_model(name: str = "add", key_generation: int = 1, model_id: str = "") -> Model:
    return Model(
        id=model_id or new_id(),
        project_id="p",
        name=name,
        key_generation=key_generation,
        cpu_millicores=1,
        memory_mb=1,
        replicas=1,
        creator="ada",
    )


def test_a_model_is_found_by_its_key() -> None:
    """A model is found by its access key, before it is ever deployed."""
    routes, model = Endpoints(key_of, nobody, KeyIndex()), a_model()
    routes.put_model(model)
    found = routes.by_access_key(key_of(model))
    assert found is not None
    assert found.pool is None
    assert (found.model_id, found.name) == (model.id, "add")


def test_a_pool_is_pointed_at_and_survives_a_rename() -> None:
    """Callers see the pool pointed at, and a new name changes nothing of it."""
    routes, model = Endpoints(key_of, nobody, KeyIndex()), a_model()
    routes.put_model(model)
    routes.set_pool(model.id, POOL)
    renamed = a_model("sum", 2, model.id)
    routes.put_model(renamed)
    assert routes.pool_of(model.id) is POOL
    assert routes.by_access_key(key_of(model)) is None
    assert cast(Endpoint, routes.by_access_key(key_of(renamed))).pool is POOL


def test_a_forgotten_model_is_nowhere() -> None:
    """What was forgotten is found by nothing, and pointing at it does nothing."""
    routes, model = Endpoints(key_of, nobody, KeyIndex()), a_model()
    routes.put_model(model)
    routes.forget_model(model.id)
    routes.set_pool(model.id, POOL)
    assert routes.by_access_key(key_of(model)) is None
    assert routes.pool_of(model.id) is None


def test_who_may_call_is_looked_at_again() -> None:
    """What has changed elsewhere is asked for anew, of all models."""
    allowed = frozenset("a")
    routes, model = Endpoints(key_of, lambda _: allowed, KeyIndex()), a_model()
    routes.put_model(model)
    target = cast(Endpoint, routes.by_access_key(key_of(model)))
    assert target.may_call == frozenset("a")
    allowed = frozenset("ab")
    routes.refresh_permissions()
    assert target.may_call == frozenset("ab")

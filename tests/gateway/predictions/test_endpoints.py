"""Endpoints: which pool serves which model."""

from typing import cast

from gateway.identity.key_index import KeyIndex
from gateway.predictions.endpoints import Endpoint, Endpoints
from store import Model, new_id
from workers import Pool

POOL = cast(Pool, object())


def key_of(model: Model) -> str:
    return f"{model.id}-{model.key_generation}"


def no_user(model: Model) -> frozenset[str]:
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


def test_model_is_found_by_its_key() -> None:
    """A model is found by its access key, before it is ever deployed."""
    endpoints, model = Endpoints(key_of, no_user, KeyIndex()), a_model()
    endpoints.put_model(model)
    found = endpoints.by_access_key(key_of(model))
    assert found is not None
    assert found.pool is None
    assert (found.model_id, found.name) == (model.id, "add")


def test_pool_survives_a_rename() -> None:
    """Callers see the pool that was set, and a new name does not change it."""
    endpoints, model = Endpoints(key_of, no_user, KeyIndex()), a_model()
    endpoints.put_model(model)
    endpoints.set_pool(model.id, POOL)
    renamed = a_model("sum", 2, model.id)
    endpoints.put_model(renamed)
    assert endpoints.pool_of(model.id) is POOL
    assert endpoints.by_access_key(key_of(model)) is None
    assert cast(Endpoint, endpoints.by_access_key(key_of(renamed))).pool is POOL


def test_absence_survives_a_rename() -> None:
    """Why a deployed model has no pool yet is said until it is taken back."""
    endpoints, model = Endpoints(key_of, no_user, KeyIndex()), a_model()
    endpoints.put_model(model)
    renamed = a_model("sum", 2, model.id)
    with endpoints.absent(model.id, "it is rebuilt"):
        endpoints.put_model(renamed)
        found = cast(Endpoint, endpoints.by_access_key(key_of(renamed)))
        for inner, reason in (("", "it is rebuilt"), ("it waits", "it waits")):
            with endpoints.absent(model.id, inner):
                assert found.absence == reason
            assert found.absence == "it is rebuilt"
    assert found.absence == ""


def test_counts_survive_a_rename() -> None:
    """Requests that were counted, and those that run, are counted once after a change as well."""
    endpoints, model = Endpoints(key_of, no_user, KeyIndex()), a_model()
    endpoints.put_model(model)
    running = cast(Endpoint, endpoints.find(model.id)).traffic
    endpoints.put_model(a_model("sum", 2, model.id))
    assert cast(Endpoint, endpoints.find(model.id)).traffic is running


def test_forgotten_model_is_not_found() -> None:
    """Setting a pool for it does nothing."""
    endpoints, model = Endpoints(key_of, no_user, KeyIndex()), a_model()
    endpoints.put_model(model)
    endpoints.forget_model(model.id)
    endpoints.set_pool(model.id, POOL)
    assert endpoints.by_access_key(key_of(model)) is None
    assert endpoints.pool_of(model.id) is None


def test_permissions_are_refreshed() -> None:
    """`refresh_permissions` reads them again, for all models."""
    allowed = frozenset("a")
    endpoints, model = Endpoints(key_of, lambda _: allowed, KeyIndex()), a_model()
    endpoints.put_model(model)
    target = cast(Endpoint, endpoints.by_access_key(key_of(model)))
    assert target.may_call == frozenset("a")
    allowed = frozenset("ab")
    endpoints.refresh_permissions()
    assert target.may_call == frozenset("ab")

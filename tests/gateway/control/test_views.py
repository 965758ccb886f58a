"""Views: a record together with what memory knows of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.control.variables import GatewayUrls
from gateway.control.views import Views
from gateway.crn import crn
from gateway.data_folder import DataFolder
from store import new_id
from tests.gateway.control.rollout_stage import RolloutStage, rollout_stage

INSTANCE = new_id()


def views_of(stage: RolloutStage, folder: Path) -> Views:
    return Views(
        database=stage.database,
        data=DataFolder(folder),
        endpoints=stage.endpoints,
        urls=GatewayUrls("https://models.test", "http://localhost"),
        instance_id=INSTANCE,
        builds=cast(Any, SimpleNamespace(with_live_status=lambda build: build)),
        deployments=stage.deployments,
        experiments=cast(Any, None),
    )


async def test_a_models_view_follows_its_deployment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view of a model names its access key and URL, and its status is that of its current
    deployment; views of many models are in the order of the models."""
    async with rollout_stage(tmp_path, monkeypatch) as stage:
        views, model = views_of(stage, tmp_path), stage.models[0]
        before = await views.model(model)
        assert (before.status, before.deployment, before.statistics) == ("", None, None)
        assert (await views.current_pool(model)).pool is None
        assert before.url == "https://models.test/model"
        assert before.access_key == stage.endpoints.key_of(model)
        assert before.crn == crn(INSTANCE, model.id)
        made, _ = await stage.serving()
        assert [view.status for view in await views.models(stage.models)] == ["deployed", "", ""]
        assert str((await views.model(model)).statistics) == f"of {stage.pools[0]}"
        assert [view.model for view in await views.models(stage.models)] == stage.models
        current = await views.current_pool(model)
        assert current.deployment is not None
        assert current.deployment.id == made.id
        assert current.pool is stage.answers()

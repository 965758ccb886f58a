"""GPUs on the pages and in the API, of a machine that has some."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import composition
from tests.support.browsers import Browser, browser_of, fresh_name
from tests.support.gateway import Gateway, copy_of, running, settings_for
from tests.support.gpus import PlainGpus


@pytest.fixture
async def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setattr(composition, "NvmlDriver", lambda: PlainGpus(2))
    monkeypatch.setattr("gateway.control.history.recorder.STEP", 1)
    async with running(settings_for(tmp_path / "data")) as gateway:
        yield gateway


@pytest.fixture
async def browser(gateway: Gateway) -> AsyncIterator[Browser]:
    async with browser_of(gateway, administrator=True) as browser:
        yield browser


async def test_pages_show_gpus(gateway: Gateway, browser: Browser, tmp_path: Path) -> None:
    """Forms ask for GPUs; the deployment, its replicas, charts and the site show them."""
    project = await gateway.project(copy_of("badly", tmp_path), name=fresh_name())
    model = await gateway.model(project)
    build = await gateway.built(model, "badly.py:behave")

    new = (await browser.get(f"{project}/models/new")).text
    assert "per replica, of 2" in new
    experiment = (await browser.get(f"{project}/experiments/new")).text
    assert "The machine has 2." in experiment
    form = (await browser.get(f"{build}/deploy")).text
    assert 'name="nvidia_gpus"' in form

    typed = {"replicas": "1", "cpu": "1", "memory": "1", "nvidia_gpus": "3", "network": "machine"}
    refused = await browser.post(f"{build}/deploy", **typed)
    assert refused.status_code == 400
    assert "ot enough GPUs: asked 3, the machine has 2" in refused.text
    done = await browser.post(f"{build}/deploy", **{**typed, "nvidia_gpus": "2"})
    assert done.status_code == 303
    await gateway.until(model, lambda found: found["status"] == "deployed")
    [deployment] = (await gateway.get(f"{model}/deployments"))["model_deployments"]
    assert deployment["nvidia_gpu"] == 2
    shown = (await browser.get(f"{model}/deployments/{deployment['id']}")).text
    assert "2 for each replica" in shown

    await gateway.until(f"{model}/history", lambda found: found["series"].get("gpus_busy"))
    monitoring = (await browser.get(f"{model}/monitoring")).text
    assert "GPU memory" in monitoring
    assert "GPU-1" in monitoring
    site = await gateway.get("/site")
    assert site["gpus"] == {
        "total": 2, "usable": 2, "free": 0, "driver": "550.54.15", "problem": ""
    }  # fmt: skip
    [replica] = (await gateway.get(f"{model}/replicas"))["replicas"]
    assert [each["holder"] for each in site["gpu_devices"]] == [replica["name"]] * 2
    [active] = (await gateway.get("/site/models"))["models"]
    assert active["requested"]["gpus"] == 2
    assert active["used"]["gpus"] == 1.0
    totals = (await browser.get("/admin")).text
    assert "Total Requested GPUs" in totals
    assert "0 free of 2" in totals
    assert replica["name"] in totals
    again = (await browser.get(f"{build}/deploy?based_on={deployment['id']}")).text
    assert 'value="2"' in again
    await gateway.post(f"{model}:stop")

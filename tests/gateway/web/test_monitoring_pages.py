"""The monitoring pages over HTTP: what they show of real traffic."""

from pathlib import Path

from gateway.web.traffic_charts import traffic_charts
from tests.support.browsers import Browser, fresh_name
from tests.support.gateway import Gateway, copy_of


async def test_pages_show_real_traffic(
    shared: Gateway, administrator: Browser, tmp_path: Path
) -> None:
    """Replicas with their counts, charts with the deployment, each request with its log lines."""
    project = await shared.project(copy_of("badly", tmp_path), name=fresh_name())
    model = await shared.model(project)
    await shared.deployed(await shared.built(model, "badly.py:behave"))
    key = await shared.key(model)
    assert (await shared.call(key, {"do": "echo", "x": 1})).status_code == 200
    failed = await shared.call(key, {"do": "raise"})
    assert failed.status_code == 500
    request_id = failed.json()["request_id"]

    overview = (await administrator.get(f"{model}/monitoring")).text
    (replica,) = (await shared.get(f"{model}/replicas"))["replicas"]
    assert replica["name"] in overview
    assert "Requests per second" in overview
    assert "build 1" in overview
    for window in ("1h", "1d", "14d", "nonsense"):
        assert (await administrator.get(f"{model}/monitoring?window={window}")).status_code == 200

    listed = (await administrator.get(f"{model}/monitoring/requests")).text
    assert request_id[-12:] in listed
    wrong = await administrator.get(f"{model}/monitoring/requests?status=many")
    assert (wrong.status_code, "many" in wrong.text) == (400, True)
    only = (await administrator.get(f"{model}/monitoring/requests?status=200")).text
    assert request_id[-12:] not in only

    logs = (await administrator.get(f"{model}/monitoring/logs?request={request_id}")).text
    assert "Traceback" in logs
    assert "data-log" not in logs
    assert "data-log" in (await administrator.get(f"{model}/monitoring/logs")).text
    streams = (await administrator.get(f"{model}/monitoring/logs?stream=stderr")).text
    assert "stream=stderr" in streams
    assert streams.count(" checked> std") == 1
    newest = (await administrator.get(f"{model}/monitoring/logs")).text
    assert newest.index("ValueError") < newest.index("Traceback (most") < newest.rindex("Finish Mo")
    oldest = (await administrator.get(f"{model}/monitoring/logs?order=oldest")).text
    assert oldest.index("Finish Mo") < oldest.index("Traceback (most") < oldest.index("ValueError")
    part = (await administrator.get(f"{model}/monitoring/logs?text=traceback&window=1h")).text
    assert "Traceback (most" in part
    assert "Model ready" not in part
    assert "text=traceback&amp;since=" in part
    odd = await administrator.get(f"{model}/monitoring/logs?replica=%3Cb%3E")
    assert (odd.status_code, "<b>" in odd.text) == (400, False)


def test_charts_of_no_traffic() -> None:
    """A model that was never called has charts without values."""
    names = ["cpu_cores", "cpu_limit", "memory_bytes", "memory_limit"]
    names += [f"{what}_{p}" for what in ("latency", "wait") for p in ("p50", "p95", "p99")]
    times = [1_764_396_000 + 10 * n for n in range(360)]
    series: dict[str, object] = {name: [None] * 360 for name in names}
    counts: dict[str, object] = {"success": [0] * 360, "waiting": [0] * 360, "failures": {}}
    history = {"times": times, "step": 10, "series": series | counts, "marks": []}
    charts = traffic_charts(history)
    assert len(charts) == 6
    assert all("<svg" in each for each in charts)

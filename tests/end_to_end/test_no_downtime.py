"""Callers of a model do not notice that it is deployed again, rolled back or restarted."""

from pathlib import Path

from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    Prober,
    write,
)

ECHO = "def echo(args):\n    return {{**args, 'version': {}}}\n"


def test_two_thousand_requests_during_redeploys(gateway: Gateway, tmp_path: Path) -> None:
    """Sixteen callers get two thousand right answers and none that is wrong during five
    deployments of two builds, and a rollback."""
    folder = write(tmp_path / "project", {"echo.py": ECHO.format(1)})
    model = gateway.serve(folder, "echo.py", "echo", replicas=2)
    write(folder, {"echo.py": ECHO.format(2)})
    builds = [gateway.build(model, "echo.py", "echo"), gateway.build(model, "echo.py", "echo")]
    with Prober(gateway, [model], {}).running(callers=16, pause=0.0) as prober:
        for number in range(5):
            deployment = gateway.deploy(model, builds[number % 2], replicas=2)
            assert deployment["status"] == "deployed"
        rollback = gateway.cli("rollback", "echo", "--json")
        assert rollback.code == 0, rollback.err
        until(lambda: prober.right >= 2000, 60)
    assert gateway.call(model, {}).body["response"] == {"version": 2}


def test_restart(gateway: Gateway, tmp_path: Path) -> None:
    """A restart gives each of two replicas a new process, and fails no request."""
    folder = write(tmp_path / "project", {"echo.py": ECHO.format(1)})
    model = gateway.serve(folder, "echo.py", "echo", replicas=2)

    def pids() -> set[int]:
        path = f"/projects/{model['project']['id']}/models/{model['id']}/replicas"
        return {replica["pid"] for replica in gateway.client.get(path)["replicas"]}

    before = pids()
    with Prober(gateway, [model], {}).running(callers=4, pause=0.0):
        assert gateway.cli("model", "restart", "echo").code == 0
        until(lambda: not before & pids())


def test_failed_deployment_leaves_the_old_one_serving(gateway: Gateway, tmp_path: Path) -> None:
    """The old deployment continues to serve; the new one is failed with its reason and last
    lines."""
    broken = (
        ECHO.format(2) + "import os\nif os.environ.get('BREAK'):\n    raise OSError('as told')\n"
    )
    folder = write(tmp_path / "project", {"echo.py": broken})
    model = gateway.serve(folder, "echo.py", "echo", replicas=2)
    build = gateway.build(model, "echo.py", "echo")
    with Prober(gateway, [model], {}).running():
        failed = gateway.deploy(model, build, replicas=2, environment={"BREAK": "1"})
        assert failed["status"] == "failed"
        assert "OSError: as told" in failed["failure"]["problem"]
    assert gateway.call(model, {}).status == 200

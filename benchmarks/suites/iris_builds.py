"""For `build`: the Iris template, unmodified, built again after each kind of change.

Each step's yardstick is measured in the same run, by hand: `uv pip install` of the same
requirements into a new environment, `fit.py`, and the import of the model. A step ends with the
first right answer. The package index is that of this machine's pip and uv; where there is none,
nothing is measured.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks import gateway_process
from benchmarks.gateway_process import ROOT, Gateway, SetupFailed
from benchmarks.load.closed import ask
from benchmarks.plan import Plan
from benchmarks.report.record import Goal, Row, Table

TEMPLATE = ROOT / "gateway/project_templates/python"
PACKAGES = ROOT / "workers/inside/python/packages"
# Small, and nothing in the template needs it.
ADDED = "tabulate"
_LIMIT = 300.0
_MB = 1_000_000


class Yardstick(msgspec.Struct, frozen=True):
    """Seconds that the parts take by hand: `cold` and `warm` are `uv pip install`."""

    cold: float
    warm: float
    fit: float
    model: float  # the import of predict.py
    added: float  # one more requirement, not in the cache


class Iris(msgspec.Struct, frozen=True):
    """What was measured: seconds by step, and the megabytes of all builds after it."""

    yardstick: Yardstick
    seconds: dict[str, float]
    megabytes: dict[str, float]
    redeploys: int


def measure(plan: Plan) -> Iris:
    """Raises SetupFailed where the index cannot be reached, or a build fails."""
    with tempfile.TemporaryDirectory(prefix="predictd-benchmark-") as name:
        folder = Path(name)
        plan.say("iris by hand")
        yardstick = _by_hand(folder)
        project = Path(shutil.copytree(TEMPLATE, folder / "iris"))
        data = folder / "data"
        with gateway_process.started_on(data) as gateway:
            return _steps(plan, _Model(gateway, project), data, yardstick)


class _Model:
    """The model of the template, deployed again and again."""

    def __init__(self, gateway: Gateway, project: Path) -> None:
        self._gateway, self.project = gateway, project
        wish = {"name": "iris", "template": "local", "path": str(project)}
        made = gateway.client.post("/projects", wish)
        asked = {"name": "predict", "disable_authentication": True}
        model = gateway.client.post(f"/projects/{made['id']}/models", asked)
        self._path = f"/projects/{made['id']}/models/{model['id']}"
        self._key = model["access_key"]

    def deployed(self) -> float:
        """Seconds until the first right answer of a new build."""
        began, client = time.monotonic(), self._gateway.client
        wish = {"file_path": "predict.py", "function_name": "predict"}
        build = f"{self._path}/builds/{client.post(f'{self._path}/builds', wish)['id']}"
        if (ended := self._ended(build, "built", "build failed", "timedout"))["status"] != "built":
            raise SetupFailed(f"Iris was not built: {ended['failure']}")
        made = client.post(f"{build}/deployments", {"replicas": 1})
        ended = self._ended(f"{build}/deployments/{made['id']}", "deployed", "failed")
        if ended["status"] != "deployed":
            raise SetupFailed(f"Iris was not deployed: {ended['failure']}")
        status, body = ask(self._gateway.target(self._key, {"petal_length": 5.0}))
        if status != 200 or not 1 < msgspec.json.decode(body)["response"] < 3:
            raise SetupFailed(f"the response is {status} {body[:300]!r}")
        return time.monotonic() - began

    def _ended(self, path: str, *states: str) -> dict[str, object]:
        found: dict[str, object] = {}

        def over() -> bool:
            found.update(self._gateway.client.get(path))
            return found["status"] in states

        gateway_process.wait(over, _LIMIT, path, 0.02)
        return found


def _steps(plan: Plan, model: _Model, data: Path, yardstick: Yardstick) -> Iris:
    redeploys = 2 if plan.quick else 10
    seconds: dict[str, float] = {}
    megabytes: dict[str, float] = {}

    def step(name: str, change: Callable[[], object] = lambda: None) -> None:
        plan.say(f"iris: {name}")
        change()
        seconds[name] = model.deployed()
        time.sleep(1 if plan.quick else 10)  # the packages are compiled after the build
        megabytes[name] = _disk(data) / _MB

    step("cold")
    step("unchanged")
    step("changed predict.py", lambda: _append(model.project / "predict.py", "# Changed.\n"))
    step("changed fit.py", lambda: _append(model.project / "fit.py", "# Changed.\n"))
    step(
        "one requirement added",
        lambda: _append(model.project / "requirements.txt", f"{ADDED}\n"),
    )
    for number in range(redeploys):
        step(
            f"re-deploy {number + 1}, changed fit.py",
            lambda n=number: _append(model.project / "fit.py", f"# {n}\n"),  # type: ignore[misc]
        )
    return Iris(yardstick, seconds, megabytes, redeploys)


def _append(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def _disk(data: Path) -> int:
    """The bytes of all builds; a file with several names counts once."""
    folders = [str(data / name) for name in ("builds", "environments", "files")]
    command = ["du", "-s", "-c", "-k", *folders]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return 1024 * int(done.stdout.splitlines()[-1].split()[0])


def _by_hand(folder: Path) -> Yardstick:
    uv = str(Path(sys.executable).with_name("uv"))
    project = Path(shutil.copytree(TEMPLATE, folder / "by-hand"))
    cache = folder / "uv-cache"
    variables = {**os.environ, "UV_CACHE_DIR": str(cache), "PYTHONPATH": str(PACKAGES)}
    # As for a user, and in a build: fit.py leaves bytecode for the import of the model.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)

    def timed(*command: str) -> float:
        began = time.monotonic()
        done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True)
        if done.returncode:
            raise SetupFailed(f"{' '.join(command)}: {done.stderr[-500:]}")
        return time.monotonic() - began

    def installed(name: str, *what: str) -> float:
        timed(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, name)
        return timed(uv, "pip", "install", "--quiet", "--python", name, *what)

    environment = str(folder / "cold")
    python = f"{environment}/bin/python"
    return Yardstick(
        cold=installed(environment, "-r", "requirements.txt"),
        warm=installed(str(folder / "warm"), "-r", "requirements.txt"),
        fit=timed(python, "fit.py"),
        model=timed(python, "-c", "import predict"),
        added=installed(str(folder / "warm"), ADDED),
    )


def tables(iris: Iris) -> list[Table]:
    by_hand: list[Row] = [
        {"part": name, "s": value} for name, value in msgspec.structs.asdict(iris.yardstick).items()
    ]
    before = 0.0
    rows: list[Row] = []
    for name, taken in iris.seconds.items():
        rows.append({"step": name, "s": taken, "disk_mb": iris.megabytes[name] - before})
        before = iris.megabytes[name]
    return [
        Table("Iris by hand", by_hand, "cold, warm and added: uv; model: import of predict.py"),
        Table("Iris, each time to the first right answer", rows, "disk: what the step added"),
    ]


def goals(iris: Iris) -> list[Goal]:
    by_hand, took = iris.yardstick, iris.seconds
    size, sizes = iris.megabytes, list(iris.megabytes.values())
    one_more = (sizes[-1] - sizes[-1 - iris.redeploys]) / iris.redeploys
    start = by_hand.fit + by_hand.model
    bounds = {
        "cold": 1.2 * by_hand.cold + start,
        "changed fit.py": 5.0,
        "unchanged": 1.5,
        "changed predict.py": by_hand.model + 1,
        "one requirement added": by_hand.warm + by_hand.added + start + 1,
    }
    return [
        *(
            Goal(what=step, found=took[step], bound=bound, unit="s")
            for step, bound in bounds.items()
        ),
        Goal(
            what="disk of an unchanged deploy",
            found=size["unchanged"] - size["cold"],
            bound=5.0,
            unit="MB",
        ),
        Goal(
            what="disk of ten re-deploys / of one",
            found=1 + 9 * one_more / size["cold"],
            bound=1.3,
        ),
    ]


def not_measured(why: str) -> list[Goal]:
    return [Goal(what="the Iris template", found=None, bound=0.0, why_not=why)]

"""For `build`: the Iris template, unmodified, built again after each kind of change.

The same is done by hand in the same run: `uv pip install` of the same requirements into a new
environment, `fit.py`, and the import of the model. Goals are ratios to that. A step ends with the
first right answer. Its CPU time is that of the gateway and of all its processes that have ended ten
seconds later, so it has the compiling of packages after a build, and the replica that was replaced
instead of the new one. The package index is that of this machine's pip and uv; where there is none,
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


class Cost(msgspec.Struct, frozen=True):
    """What a step takes: seconds, and seconds of CPU."""

    seconds: float
    cpu: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.seconds + other.seconds, self.cpu + other.cpu)


# What has to be done by hand for each step.
PARTS = {
    "cold": ("cold install", "fit.py", "import"),
    "unchanged": ("import",),
    "changed predict.py": ("import",),
    "changed fit.py": ("warm install", "fit.py", "import"),
    "one requirement added": ("warm install", "added", "fit.py", "import"),
}


class Iris(msgspec.Struct, frozen=True):
    """What was measured: the parts by hand, the steps, and the megabytes of all builds after each
    step."""

    parts: dict[str, Cost]
    steps: dict[str, Cost]
    megabytes: dict[str, float]
    redeploys: int

    def by_hand(self, step: str) -> Cost:
        """What a step takes by hand. A re-deploy has a changed `fit.py`."""
        first, *others = (self.parts[part] for part in PARTS.get(step, PARTS["changed fit.py"]))
        return sum(others, first)


def measure(plan: Plan) -> Iris:
    """Raises SetupFailed where the index cannot be reached, or a build fails."""
    with tempfile.TemporaryDirectory(prefix="predictd-benchmark-") as name:
        folder = Path(name)
        plan.say("iris by hand")
        parts = _by_hand(folder)
        project = Path(shutil.copytree(TEMPLATE, folder / "iris"))
        data = folder / "data"
        with gateway_process.started_on(data) as gateway:
            return _steps(plan, _Model(gateway, project), data, parts)


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

    @property
    def cpu(self) -> float:
        """Seconds of CPU of the gateway and of its processes that have ended."""
        fields = Path(f"/proc/{self._gateway.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def deployed(self) -> float:
        """Seconds until the first right answer of a new build."""
        began = time.monotonic()
        # In one request, as `predictd deploy` and the form do.
        wish = {"file_path": "predict.py", "function_name": "predict", "auto_deploy_model": True}
        asked = {**wish, "auto_deployment_config": {"replicas": 1}}
        build = self._gateway.client.post(f"{self._path}/builds", asked)
        deployment = build["model_deployment"]["id"]
        ended = self._ended(f"{self._path}/builds/{build['id']}/deployments/{deployment}")
        if ended["status"] != "deployed":
            raise SetupFailed(f"Iris was not deployed: {ended['failure']}")
        status, body = ask(self._gateway.target(self._key, {"petal_length": 5.0}))
        if status != 200 or not 1 < msgspec.json.decode(body)["response"] < 3:
            raise SetupFailed(f"the response is {status} {body[:300]!r}")
        return time.monotonic() - began

    def _ended(self, path: str) -> dict[str, object]:
        found: dict[str, object] = {}

        def over() -> bool:
            found.update(self._gateway.client.get(path))
            return found["status"] in ("deployed", "failed")

        gateway_process.wait(over, _LIMIT, path, 0.02)
        return found


def _steps(plan: Plan, model: _Model, data: Path, parts: dict[str, Cost]) -> Iris:
    redeploys = 2 if plan.quick else 10
    steps: dict[str, Cost] = {}
    megabytes: dict[str, float] = {}

    def step(name: str, change: Callable[[], object] = lambda: None) -> None:
        plan.say(f"iris: {name}")
        change()
        before, seconds = model.cpu, model.deployed()
        time.sleep(5 if plan.quick else 10)  # the packages are compiled after the build
        steps[name] = Cost(seconds, model.cpu - before)
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
    return Iris(parts, steps, megabytes, redeploys)


def _append(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def _disk(data: Path) -> int:
    """The bytes of all builds; a file with several names counts once."""
    folders = [str(data / name) for name in ("builds", "environments", "files")]
    command = ["du", "-s", "-c", "-k", *folders]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return 1024 * int(done.stdout.splitlines()[-1].split()[0])


def _by_hand(folder: Path) -> dict[str, Cost]:
    uv = str(Path(sys.executable).with_name("uv"))
    project = Path(shutil.copytree(TEMPLATE, folder / "by-hand"))
    cache = folder / "uv-cache"
    variables = {**os.environ, "UV_CACHE_DIR": str(cache), "PYTHONPATH": str(PACKAGES)}
    # As for a user, and in a build: fit.py leaves bytecode for the import of the model.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)

    def timed(*command: str) -> Cost:
        began, before = time.monotonic(), os.times()
        done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True)
        if done.returncode:
            raise SetupFailed(f"{' '.join(command)}: {done.stderr[-500:]}")
        after = os.times()
        user = after.children_user - before.children_user
        system = after.children_system - before.children_system
        return Cost(time.monotonic() - began, user + system)

    def installed(name: str, *what: str) -> Cost:
        timed(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, name)
        return timed(uv, "pip", "install", "--quiet", "--python", name, *what)

    environment = str(folder / "cold")
    python = f"{environment}/bin/python"
    return {
        "cold install": installed(environment, "-r", "requirements.txt"),
        "warm install": installed(str(folder / "warm"), "-r", "requirements.txt"),
        "fit.py": timed(python, "fit.py"),
        "import": timed(python, "-c", "import predict"),
        "added": installed(str(folder / "warm"), ADDED),
    }


def tables(iris: Iris) -> list[Table]:
    by_hand: list[Row] = [
        {"part": name, "s": cost.seconds, "cpu_s": cost.cpu} for name, cost in iris.parts.items()
    ]
    before = 0.0
    rows: list[Row] = []
    for name, cost in iris.steps.items():
        same = iris.by_hand(name)
        rows.append(
            {
                "step": name,
                "s": cost.seconds,
                "by_hand_s": same.seconds,
                "ratio": cost.seconds / same.seconds,
                "cpu_s": cost.cpu,
                "by_hand_cpu_s": same.cpu,
                "disk_mb": iris.megabytes[name] - before,
            }
        )
        before = iris.megabytes[name]
    return [
        Table(
            "Iris by hand", by_hand, "installs: uv; added: one more requirement, not in the cache"
        ),
        Table("Iris, each time to the first right answer", rows, "disk: what the step added"),
    ]


def goals(iris: Iris) -> list[Goal]:
    sizes = list(iris.megabytes.values())
    one_more = (sizes[-1] - sizes[-1 - iris.redeploys]) / iris.redeploys
    first = iris.megabytes["cold"]
    return [
        *(
            Goal(
                what=f"{step} / by hand",
                found=iris.steps[step].seconds / iris.by_hand(step).seconds,
                bound=bound,
            )
            for step, bound in bounds(iris).items()
        ),
        Goal(
            what="disk of an unchanged deploy",
            found=iris.megabytes["unchanged"] - first,
            bound=5.0,
            unit="MB",
        ),
        Goal(what="disk of ten re-deploys / of one", found=1 + 9 * one_more / first, bound=1.3),
    ]


def bounds(iris: Iris) -> dict[str, float]:
    """The goals of the steps, as ratios to what is done by hand. A second more is the time that a
    build may take besides, where little is to be done."""
    cold, added = iris.by_hand("cold"), iris.by_hand("one requirement added")
    return {
        "cold": 1 + 0.2 * iris.parts["cold install"].seconds / cold.seconds,
        "changed fit.py": 1.2,
        "unchanged": 1.5,
        "changed predict.py": 1 + 1 / iris.by_hand("changed predict.py").seconds,
        "one requirement added": 1 + 1 / added.seconds,
    }


def not_measured(why: str) -> list[Goal]:
    return [Goal(what="the Iris template", found=None, bound=0.0, why_not=why)]

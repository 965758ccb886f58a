"""`build`: from a folder to the first right answer, and where the time is spent.

The first folder has one file and no build script. What remains is part of every build: the
snapshot, the environment, the probe and the start of a replica. The second one is the Iris template
(`iris_builds.py`).
"""

import time
from statistics import median

from benchmarks import gateway_process, servers
from benchmarks.gateway_process import SetupFailed
from benchmarks.plan import Plan
from benchmarks.report.record import Row, Section, Table, spread
from benchmarks.suites import iris_builds


def run(plan: Plan) -> Section:
    took: list[float] = []
    steps: dict[str, list[float]] = {}
    with gateway_process.started() as gateway:
        for number in range(plan.rounds):
            plan.say(f"build {number + 1}")
            began = time.monotonic()
            [key] = gateway.deploy("add", "add")
            gateway_process.check(gateway.target(key, servers.REQUEST), servers.ANSWER)
            took.append(time.monotonic() - began)
        for model in gateway.client.listing("/models"):
            path = f"/projects/{model['project']['id']}/models/{model['id']}/builds"
            for build in gateway.client.listing(path):
                for step in build["steps"]:
                    if step["seconds"] is not None:
                        steps.setdefault(step["name"], []).append(step["seconds"])
    rows: list[Row] = [
        {"step": name, "median_s": median(each), "spread": spread(each)}
        for name, each in steps.items()
    ]
    rows.append(
        {"step": "folder to right answer", "median_s": median(took), "spread": spread(took)}
    )
    tables = [Table("Steps of a build without a script, and all of it", rows)]
    try:
        iris = iris_builds.measure(plan)
    except SetupFailed as error:
        goals = iris_builds.not_measured(str(error))
    else:
        goals = iris_builds.goals(iris)
        tables += iris_builds.tables(iris)
    return Section(
        verb="build", title="from a folder to the first right answer", tables=tables, goals=goals
    )

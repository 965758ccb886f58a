"""`start`: from the command to the first right answer, and the memory that is then used.

The data folder has a deployed model, as after a reboot: the gateway opens its store, finds the
deployment that is wanted, starts the replica and answers. Nothing is built.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import gateway_process, servers
from benchmarks.plan import Plan
from benchmarks.report.record import Goal, Row, Section, Table, spread
from benchmarks.sampler import Sampler

REPLICAS = (1, 5)


def run(plan: Plan) -> Section:
    rows: list[Row] = []
    took: list[float] = []
    megabytes: dict[int, dict[str, float]] = {}
    for replicas in REPLICAS:
        with tempfile.TemporaryDirectory(prefix="predictd-benchmark-") as folder:
            data = Path(folder) / "data"
            with gateway_process.started_on(data) as gateway:
                [key] = gateway.deploy("add", "add", replicas=replicas)
            ready, answered, megabytes[replicas] = _start(data, key, replicas, plan)
        took = took or answered
        rows.append(
            {
                "replicas": replicas,
                "says it serves_s": median(ready),
                "first right answer_s": median(answered),
                "spread": spread(answered),
                **{f"{role}_mb": size for role, size in megabytes[replicas].items()},
            }
        )
    one, several = (megabytes[replicas] for replicas in REPLICAS)
    more = REPLICAS[1] - REPLICAS[0]
    return Section(
        verb="start",
        title="from the command to the first right answer",
        says="The model was deployed before; memory is PSS, after the first answer.",
        tables=[Table("Starts", rows)],
        goals=[
            Goal(what="first right answer", found=median(took), bound=0.6, unit="s"),
            Goal(
                what="memory of the gateway and one replica",
                found=sum(one.values()),
                bound=60.0,
                unit="MB",
            ),
            Goal(
                what="memory of each further replica",
                found=(several["replicas"] - one["replicas"]) / more,
                bound=12.0,
                unit="MB",
            ),
        ],
    )


def _start(
    data: Path, key: str, replicas: int, plan: Plan
) -> tuple[list[float], list[float], dict[str, float]]:
    ready, answered = [], []
    sizes: list[dict[str, float]] = []
    for number in range(plan.rounds):
        plan.say(f"start {number + 1} with {replicas} replicas")
        began = time.monotonic()
        with gateway_process.started_on(data) as gateway:
            ready.append(time.monotonic() - began)
            gateway_process.check(gateway.target(key, servers.REQUEST), servers.ANSWER)
            answered.append(time.monotonic() - began)
            gateway.wait_ready(replicas)
            gateway.client.get("/runtimes")  # answered once no interpreter is being probed
            sampler = Sampler(gateway.roles)
            sampler.look()
            sizes.append({role: cost.last_mb for role, cost in sampler.costs.items()})
    return ready, answered, {role: median(s[role] for s in sizes) for role in sizes[0]}

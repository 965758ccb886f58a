"""What a process of a model or script finds around it: the program it runs, and its variables."""

from pathlib import Path

from workers.limits import threads_for
from workers.spec import ExperimentSpec, ReplicaSpec, ShellSpec

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
# How many threads numerical libraries start, which else is as many as the machine has cores.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
# Spark's web page has a port by number, without which Spark ends, and no password.
_SPARK = {"SPARK_SUBMIT_OPTS": "-Dspark.ui.enabled=false"}
INSIDE = Path(__file__).parents[1] / "inside" / "python" / "start.py"
# What of it Pythons are shown that are no replicas.
PACKAGES = INSIDE.parent / "packages"


def environment_of(spec: ReplicaSpec | ExperimentSpec | ShellSpec) -> dict[str, str]:
    """The variables of a process in a build's environment, but for what its confinement adds:
    nothing is inherited. Given variables win, except that the environment comes first on PATH."""
    path = spec.variables.get("PATH", SYSTEM_PATH)
    threads = str(threads_for(spec.limits))
    return {
        "VIRTUAL_ENV": str(spec.environment),
        "LANG": "C.UTF-8",
        # The environment is sealed: importing from it must not write into it.
        "PYTHONDONTWRITEBYTECODE": "1",
        **(dict.fromkeys(_THREADS, threads) if spec.limits.cpu else {}),
        **({} if spec.network == "listen" else _SPARK),
        **spec.variables,
        "PATH": f"{spec.environment}/bin:{path}",
    }

"""The variables that a process of a model or script finds."""

from workers.limits import threads_for
from workers.process.languages import Spec, commands_of

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
# How many threads numerical libraries start, which else is as many as the machine has cores.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def environment_of(spec: Spec) -> dict[str, str]:
    """The variables of a process in a build's environment, but for what its confinement adds:
    nothing is inherited. Given variables win, except that the environment comes first on PATH."""
    path = spec.variables.get("PATH", SYSTEM_PATH)
    threads = str(threads_for(spec.limits))
    return {
        "LANG": "C.UTF-8",
        **commands_of(spec.language).variables(spec),
        **(dict.fromkeys(_THREADS, threads) if spec.limits.cpu else {}),
        **spec.variables,
        "PATH": f"{spec.environment}/bin:{path}",
    }

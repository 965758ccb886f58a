"""Arguments that several verbs share."""

from gateway.cli.arguments import cpu, duration, gpus, json_value, memory, replicas, variable
from gateway.cli.command import Argument, argument

MODEL = argument("model", metavar="MODEL", help="its name, PROJECT/NAME, or id")
PROJECT = argument("project", metavar="PROJECT", help="its name or id")
OF_PROJECT = argument(
    "--project",
    metavar="PROJECT",
    help="default: the project of the current folder, created if new",
)
UPLOAD = argument(
    "--upload",
    action="store_true",
    help="with --project: upload the current folder to it first, now and later",
)
YES = argument("--yes", action="store_true", help="do not ask for confirmation")
TIMEOUT = argument(
    "--timeout",
    metavar="DURATION",
    type=duration,
    help="wait no longer, such as 90s or 10m: the work continues, the exit code is 124",
)
# Of the verbs that start work and wait for it.
WAIT = (
    argument("--detach", action="store_true", help="start the work, and do not wait for its end"),
    TIMEOUT,
)
HOST_AND_PORT = (
    argument("--host", metavar="HOST", help="address to listen on (default 127.0.0.1)"),
    argument("--port", metavar="PORT", type=int, help="port to listen on (default 8080)"),
)
KERNEL = argument(
    "--kernel",
    metavar="KERNEL",
    help="such as python3.11 or r; see `predictd runtime ls`",
)

# A new model's sizes. The gateway chooses the memory, since it knows the machine.
NEW_SIZES = {"replicas": 2, "cpu": 1.0}
SIZES = (*NEW_SIZES, "memory")

# Equal to `workers.NETWORKS`; importing that would load the package.
_NETWORKS = ("none", "outward", "machine", "listen")


def network(default: str) -> Argument:
    """What a process may reach; `default` describes the value if the option is not given."""
    reach = "none, outward (other machines only), machine, or listen (machine, and TCP servers)"
    return argument("--network", choices=_NETWORKS, help=f"network access: {reach}; {default}")


VARIABLES = argument(
    "--env",
    metavar="NAME=VALUE",
    type=variable,
    action="append",
    default=[],
    help="environment variable of the replicas; may be repeated, never inherited",
)
FRESH = argument(
    "--fresh",
    action="store_true",
    help="make a new environment, even where an earlier one is the same",
)
BUILD_OPTIONS = (
    KERNEL,
    FRESH,
    argument("--comment", metavar="TEXT", default="", help="what changed in this build"),
    argument("--example", metavar="JSON", type=json_value, help="an example request"),
)
GPUS = argument("--gpus", metavar="N", type=gpus, help="whole GPUs (default 0)")
# Without defaults: an option that is not given is taken from the current deployment.
DEPLOYMENT_OPTIONS = (
    argument(
        "--replicas",
        metavar="N",
        type=replicas,
        help=f"number of replicas (default for new models: {NEW_SIZES['replicas']})",
    ),
    argument(
        "--cpu",
        metavar="CPUS",
        type=cpu,
        help=f"virtual CPUs per replica (default for new models: {NEW_SIZES['cpu']:g})",
    ),
    argument(
        "--memory",
        metavar="SIZE",
        type=memory,
        help="memory per replica (default for new models: 2GiB, or less on a small machine)",
    ),
    argument(
        "--gpus", metavar="N", type=gpus, help="whole GPUs per replica (default for new models: 0)"
    ),
    network("default for new models: machine"),
    VARIABLES,
)

"""The verbs ls and status: the models, one model, or the gateway, on one screen."""

from collections.abc import Sequence

from gateway.cli.command import Group, argument, command
from gateway.cli.context import Context
from gateway.cli.lookup import find_model, full_name, model_path
from gateway.cli.terminal import facts, mib, plural, table, when
from gateway.cli.watch import build_status, progress_of, reason_line
from gateway.client import Client, Json
from gateway.suggested_command import suggested

GIB = 1 << 30
# The names of the machine's cgroup controllers for users.
_LIMITED = {"memory": "memory", "cpu": "CPU", "pids": "processes"}
# The states of a deployment that can be stopped.
ACTIVE = ("pending", "deploying", "deployed")


@command(
    "ls",
    "list all models",
    examples=["predictd ls"],
    group=Group.SERVE,
)
def ls(context: Context) -> None:
    """All models, with their current builds."""
    models = context.client.listing("/models")
    context.terminal.result({"models": models}, model_table(models))


@command(
    "status",
    "show one model, or the gateway and all models",
    argument("model", metavar="MODEL", nargs="?", help="its name, PROJECT/NAME, or id"),
    examples=["predictd status", "predictd status predict"],
    group=Group.SERVE,
)
def status(context: Context) -> None:
    """One model on one screen, or the gateway and all models."""
    if context.arguments.model:
        _model_status(context)
    else:
        _gateway_status(context)


def model_table(models: Sequence[Json]) -> str:
    """A table of models, or how to deploy the first one."""
    if not models:
        return "No models. Create one with `predictd deploy FILE:FUNCTION`, or try `predictd demo`."
    rows = [
        (
            full_name(each),
            each["status"] or "not deployed",
            f"{each['replicas_ready']}/{each['replicas_wanted']}",
            each["current_build_number"] or "",
            when(each["updated_at"]),
        )
        for each in models
    ]
    return table(("MODEL", "STATUS", "REPLICAS", "BUILD", "UPDATED (UTC)"), rows)


def _gateway_status(context: Context) -> None:
    site = context.client.get("/site")
    models = context.client.listing("/models")
    about = facts(
        {
            "predictd": site["version"],
            "at": site["url"],
            "data": site.get("data"),  # shown to site administrators
            "since": f"{when(site['started_at'])} UTC",
            "machine": _machine_line(site),
        }
    )
    parts = [about, set_aside_lines(site.get("set_aside", [])), model_table(models)]
    text = "\n\n".join(filter(None, parts))
    context.terminal.result({"site": site, "models": models}, text)


def set_aside_lines(problems: Sequence[Json]) -> str:
    """What the gateway could not read at its start; site administrators see it."""
    if not problems:
        return ""
    lines = [f"{e['what']} ({e['path']}): {e['problem']}. {e['advice']}" for e in problems]
    return "\n  ".join(["The gateway runs without:", *lines])


def _machine_line(site: Json) -> str:
    """The machine's resources for models, and how they are limited."""
    machine = site["machine"]
    cores, free = machine["cores"], machine["memory_free"] / GIB
    limited = [_LIMITED[each] for each in machine["holds"] if each in _LIMITED]
    by = f"cgroups ({machine['cgroups']}) limit {', '.join(limited)}" if limited else "no cgroups"
    return (
        f"{plural(cores, 'core')}, {machine['memory'] / GIB:.1f} GiB; free for models "
        f"{free:.1f} of {machine['memory_for_models'] / GIB:.1f} GiB; {by}{_gpus_of(site['gpus'])}"
    )


def _gpus_of(gpus: Json) -> str:
    if not gpus["total"]:
        return ""
    broken = gpus["total"] - gpus["usable"]
    note = f" ({broken} cannot be assigned)" if broken else ""
    return f"; {gpus['free']} of {gpus['usable']} GPUs free{note}"


def _model_status(context: Context) -> None:
    client = context.client
    model = find_model(context, context.arguments.model)
    path = model_path(model)
    deployment = current_deployment(client, model)
    built = client.listing(f"{path}/builds")
    last = built[-1] if built else None
    replicas = client.get(f"{path}/replicas")
    document = {"model": model, "deployment": deployment, "build": last, **replicas}
    parts = [_model_facts(model, deployment, last)]
    if replicas["replicas"]:
        parts += [_replica_table(replicas["replicas"]), _pool_line(replicas)]
        lines = (
            _gpus_line(replicas["replicas"]),
            _limits_line(replicas["replicas"]),
            _callers_line(replicas),
            _dropped_line(replicas),
        )
        parts += filter(None, lines)
    if last is None:
        parts.append("Build and serve it with `predictd deploy FILE:FUNCTION`.")
    elif last["failure"]:
        # A first build that failed has no deployment that could be repeated.
        log = suggested("build log", full_name(model), last["build_number"])
        step = "Deploy again" if last["cancelled_by"] else "Correct it, then deploy again"
        parts.append(f"{step}. The log: {log}.")
    elif deployment is None or deployment["status"] not in ACTIVE:
        parts.append(f"Serve it with {suggested('model redeploy', full_name(model))}.")
    context.terminal.result(document, "\n\n".join(parts))


def _model_facts(model: Json, deployment: Json | None, last: Json | None) -> str:
    serving = deployment and (
        f"{deployment['deployment_number']}, build {deployment['build_number']}: "
        f"{deployment['status']}, {progress_of(deployment)}"
    )
    latest = last and ", ".join(
        [
            f"{last['build_number']}: {build_status(last)}",
            *([plural(last["lock"]["packages"], "package")] if last["lock"] else []),
        ]
    )
    failed = next((each for each in (deployment, last) if each and each["failure"]), None)
    reason = failed and reason_line(failed["failure"])
    return facts(
        {
            "model": full_name(model),
            "status": model["status"] or "not deployed",
            "url": model["url"],
            "access key": model["access_key"],
            "crn": model["crn"],
            "deployment": serving,
            "last build": latest,
            "reason": reason,
        }
    )


def _replica_table(replicas: Sequence[Json]) -> str:
    counters = ("received", "processed", "success", "failure", "error", "restart", "recycled")
    rows = [
        (
            each["name"],
            each["status"],
            each["pid"] or "",
            mib(each["rss_bytes"] or 0, 0),
            f"{each['cpu_seconds'] or 0:.1f} s",
            *(each[counter] for counter in counters),
            each["last_exit"] or "",
        )
        for each in replicas
    ]
    headings = ("REPLICA", "STATUS", "PID", "MEMORY", "CPU", *map(str.upper, counters), "LAST EXIT")
    return table(headings, rows)


def _pool_line(replicas: Json) -> str:
    return (
        f"requests waiting: {replicas['waiting']}   refused as busy: {replicas['busy']} "
        f"(queue full {replicas['queue_full']}, waited too long {replicas['waited_too_long']})   "
        f"not ready: {replicas['not_ready']}   abandoned: {replicas['abandoned']}   "
        f"timed out: {replicas['timed_out']}"
    )


def _gpus_line(replicas: Sequence[Json]) -> str:
    """What each replica holds, and how much of it was used at the last measurement."""
    held = [
        f"{each['name']}: {gpu['uuid']} ({gpu['name']}"
        + (f", {100 * gpu['busy']:.0f} % busy" if gpu["busy"] is not None else "")
        + (f", {mib(gpu['used_bytes'], 0)}" if gpu["used_bytes"] is not None else "")
        + ")"
        for each in replicas
        for gpu in each["gpus"]
    ]
    return "\n".join(["GPUs:", *(f"  {each}" for each in held)]) if held else ""


def _limits_line(replicas: Sequence[Json]) -> str:
    """How often the replicas hit each limit."""
    met: dict[str, int] = {}
    for each in replicas:
        for limit, count in each["limits_met"].items():
            met[limit] = met.get(limit, 0) + count
    counts = [f"{limit} {count}" for limit, count in met.items() if count]
    return f"limits hit: {', '.join(counts)}" if counts else ""


def _callers_line(replicas: Json) -> str:
    """The callers whose requests ended replicas, the most frequent first."""
    counts = [f"{caller} {count}" for caller, count in replicas["restarts_by_caller"].items()]
    return f"replicas ended by requests of: {', '.join(counts)}" if counts else ""


def _dropped_line(replicas: Json) -> str:
    dropped = replicas["metrics_dropped"]
    return f"metrics dropped because the disk was too slow: {dropped}" if dropped else ""


def current_deployment(client: Client, model: Json) -> Json | None:
    """The deployment that the model's status describes; it may have stopped or failed."""
    for deployment in client.listing(f"{model_path(model)}/deployments"):
        if deployment["id"] == model["current_deployment_id"]:
            return deployment
    return None

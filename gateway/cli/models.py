"""The verbs that look at models, and those that end them."""

from collections.abc import Sequence

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.lookup import find_model, full_name, model_path
from gateway.cli.terminal import facts, table
from gateway.cli.watch import look_again, progress_of, reason_of
from gateway.client import Client, Json

MIB = 1 << 20
GIB = 1 << 30
# How the machine's controllers are called here.
HELD = {"memory": "memory", "cpu": "CPU", "pids": "processes"}
# What a deployment is while there is something of it to stop.
LIVING = ("pending", "deploying", "deployed")


def ls(context: Context) -> None:
    """All models, with what serves."""
    models = context.client.listing("/models")
    context.terminal.result({"models": models}, model_table(models))


def status(context: Context) -> None:
    """One model on one screen, or the gateway and all models."""
    if context.arguments.model:
        _model_status(context)
    else:
        _gateway_status(context)


def builds(context: Context) -> None:
    """A model's builds, oldest first."""
    model = find_model(context.client, context.arguments.model)
    found = context.client.listing(f"{model_path(model)}/builds")
    rows = [
        (
            each["build_number"],
            each["status"],
            f"{each['file_path']}:{each['function_name']}",
            each["kernel"],
            when(each["created_at"]),
            each["comment"],
        )
        for each in found
    ]
    headings = ("BUILD", "STATUS", "FUNCTION", "KERNEL", "CREATED (UTC)", "COMMENT")
    nothing = f"No build yet. Make one with `predictd deploy FILE:FUNCTION --name {model['name']}`."
    context.terminal.result({"builds": found}, table(headings, rows) if rows else nothing)


def deployments(context: Context) -> None:
    """A model's deployments, oldest first: who served what, and when."""
    model = find_model(context.client, context.arguments.model)
    found = context.client.listing(f"{model_path(model)}/deployments")
    rows = [
        (
            each["deployment_number"],
            each["build_number"],
            each["status"],
            each["replicas"],
            each["deployer"].get("username", ""),
            when(each["created_at"]),
            when(each["stopped_at"]),
            (each["failure"] or {}).get("summary", ""),
        )
        for each in found
    ]
    times = ("CREATED (UTC)", "STOPPED (UTC)")
    headings = ("DEPLOYMENT", "BUILD", "STATUS", "REPLICAS", "BY", *times, "REASON")
    nothing = f"No deployment yet. Make one with `predictd redeploy {full_name(model)}`."
    context.terminal.result({"deployments": found}, table(headings, rows) if rows else nothing)


def stop(context: Context) -> None:
    """Stops what serves and what is on its way; the model and its builds stay."""
    model = find_model(context.client, context.arguments.model)
    name = full_name(model)
    stopping = context.client.post(f"{model_path(model)}:stop")["model_deployments"]
    if not stopping:
        again = f"Serve it with `predictd redeploy {name}`."
        context.terminal.result(
            {"status": "stopped"}, f"Nothing to stop: {name} does not serve. {again}"
        )
        return
    with context.terminal.live(f"stopping {name}"):
        for each in stopping:
            path = _deployment_path(model, each)
            while (deployment := look_again(context.client, path))["status"] == "stopping":
                pass
    again = f"Serve it again with `predictd redeploy {name}`."
    context.terminal.result(deployment, f"{name} is stopped. {again}")


def restart(context: Context) -> None:
    """Starts all replicas anew, one after the other."""
    model = find_model(context.client, context.arguments.model)
    name = full_name(model)
    deployment = _serving(context.client, model)
    if deployment is None:
        advice = f"Serve it with `predictd redeploy {name}`."
        raise CommandFailed(f"{name} is not deployed.", advice, Exit.REFUSED)
    deployment = context.client.post(f"{_deployment_path(model, deployment)}:restart")
    watch = f"Watch it with `predictd status {name}`."
    context.terminal.result(deployment, f"{name} restarts, one replica after the other. {watch}")


def rm(context: Context) -> None:
    """Deletes a model with all its builds and deployments."""
    model = find_model(context.client, context.arguments.model)
    name = full_name(model)
    confirm_or_exit(context, f"Stop and delete {name} with all its builds?")
    with context.terminal.live(f"deleting {name}"):
        context.client.delete(model_path(model))
    text = f"{name} is deleted; its name is free again. See what is left with `predictd ls`."
    context.terminal.result({"deleted": model["id"]}, text)


def confirm_or_exit(context: Context, question: str) -> None:
    """Goes on only with `--yes` or the user's yes."""
    answer = context.arguments.yes or context.terminal.confirm(question)
    if answer is None:
        message = "This needs a yes, and there is no terminal to ask at."
        raise CommandFailed(message, "Say it with --yes.", Exit.USAGE)
    if not answer:
        raise CommandFailed("Nothing was done.", "Answer y to do it.", Exit.FAILED)


def model_table(models: Sequence[Json]) -> str:
    """Models with what serves, or how to get the first one."""
    if not models:
        return (
            "No model yet. Make one with `predictd deploy FILE:FUNCTION`, or try `predictd demo`."
        )
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
            "data": site.get("data"),  # told to site administrators
            "since": f"{when(site['started_at'])} UTC",
            "machine": _machine_line(site["machine"]),
        }
    )
    parts = [about, described_set_aside(site.get("set_aside", [])), model_table(models)]
    text = "\n\n".join(filter(None, parts))
    context.terminal.result({"site": site, "models": models}, text)


def described_set_aside(problems: Sequence[Json]) -> str:
    """What the gateway could not read when it started; told to site administrators."""
    if not problems:
        return ""
    lines = [f"{e['what']} ({e['path']}): {e['problem']}. {e['advice']}" for e in problems]
    return "\n  ".join(["The gateway goes on without:", *lines])


def _machine_line(machine: Json) -> str:
    """What the machine has for models, and what holds them to their part of it."""
    cores, free = machine["cores"], machine["memory_free"] / GIB
    held = [HELD[each] for each in machine["holds"] if each in HELD]
    by = f"cgroups ({machine['cgroups']}) hold {', '.join(held)}" if held else "no cgroups"
    return (
        f"{cores} core{'s' * (cores > 1)}, {machine['memory'] / GIB:.1f} GiB; free for models "
        f"{free:.1f} of {machine['memory_for_models'] / GIB:.1f} GiB; {by}"
    )


def _model_status(context: Context) -> None:
    client = context.client
    model = find_model(client, context.arguments.model)
    path = model_path(model)
    deployment = _present(client, model)
    built = client.listing(f"{path}/builds")
    last = built[-1] if built else None
    replicas = client.get(f"{path}/replicas")
    document = {"model": model, "deployment": deployment, "build": last, **replicas}
    parts = [_model_facts(model, deployment, last)]
    if replicas["replicas"]:
        parts += [_replica_table(replicas["replicas"]), _pool_line(replicas)]
        told = (_limits_line(replicas["replicas"]), _blame_line(replicas), _dropped_line(replicas))
        parts += filter(None, told)
    if last is None:
        parts.append("Build and serve it with `predictd deploy FILE:FUNCTION`.")
    elif deployment is None or deployment["status"] not in LIVING:
        parts.append(f"Serve it with `predictd redeploy {full_name(model)}`.")
    context.terminal.result(document, "\n\n".join(parts))


def _model_facts(model: Json, deployment: Json | None, last: Json | None) -> str:
    serving = deployment and (
        f"{deployment['deployment_number']}, build {deployment['build_number']}: "
        f"{deployment['status']}, {progress_of(deployment)}"
    )
    latest = last and f"{last['build_number']}: {last['status']}"
    failed = next((each for each in (deployment, last) if each and each["failure"]), None)
    # On one line: what was found may have several.
    reason = failed and ": ".join(filter(None, reason_of(failed["failure"]).splitlines()))
    return facts(
        {
            "model": full_name(model),
            "status": model["status"] or "not deployed",
            "url": model["url"],
            "access key": model["access_key"],
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
            f"{(each['rss_bytes'] or 0) / MIB:.0f} MiB",
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


def _limits_line(replicas: Sequence[Json]) -> str:
    """How often which limit was met, if any was."""
    met: dict[str, int] = {}
    for each in replicas:
        for limit, count in each["limits_met"].items():
            met[limit] = met.get(limit, 0) + count
    told = [f"{limit} {count}" for limit, count in met.items() if count]
    return f"limits met: {', '.join(told)}" if told else ""


def _blame_line(replicas: Json) -> str:
    """Whose requests ended replicas, who did it most often first."""
    told = [f"{caller} {count}" for caller, count in replicas["restarts_by_caller"].items()]
    return f"replicas ended by requests of: {', '.join(told)}" if told else ""


def _dropped_line(replicas: Json) -> str:
    dropped = replicas["metrics_dropped"]
    return f"metrics dropped, since the disk took them too slowly: {dropped}" if dropped else ""


def _present(client: Client, model: Json) -> Json | None:
    """The deployment that the model's status is about; it may have stopped or failed."""
    for deployment in client.listing(f"{model_path(model)}/deployments"):
        if deployment["id"] == model["current_deployment_id"]:
            return deployment
    return None


def _serving(client: Client, model: Json) -> Json | None:
    """The deployment that serves, or is about to."""
    present = _present(client, model)
    return present if present and present["status"] in LIVING else None


def _deployment_path(model: Json, deployment: Json) -> str:
    build = deployment["build_id"]
    return f"{model_path(model)}/builds/{build}/deployments/{deployment['id']}"


def when(time_text: str | None) -> str:
    """`2026-11-21 02:35:00`, of a time as the API gives it."""
    return (time_text or "")[:19].replace("T", " ")

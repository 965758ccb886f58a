"""The verb doctor: checks what this machine offers and lacks."""

from argparse import SUPPRESS
from urllib.parse import urlsplit

from gateway.cli.command import Group, argument, command
from gateway.cli.context import (
    HOST,
    PORT,
    CommandFailed,
    Context,
    Exit,
    admin_key,
    answering_address,
    running_address,
)
from gateway.cli.terminal import table
from gateway.client import ClientError, Json


@command(
    "doctor",
    "check this machine, and the gateway that runs on it",
    argument("--host", metavar="HOST", default=HOST, help=SUPPRESS),
    argument(
        "--port",
        metavar="PORT",
        type=int,
        help="port to check (default: that of the running gateway, else 8080)",
    ),
    local=True,
    examples=["predictd doctor", "predictd doctor --port 9000"],
    group=Group.GATEWAY,
)
def doctor(context: Context) -> int:
    """What this machine offers and the running gateway has, and what is missing."""
    from dataclasses import asdict

    from gateway.operations.doctor import DoctorInput, examine

    arguments = context.arguments
    running = answering_address(context.data)
    gateway_port = urlsplit(running.url).port if running else None
    disk, removable = _asked(context) if running else (None, None)
    machine = DoctorInput(
        data=context.data,
        host=arguments.host,
        port=arguments.port or gateway_port or PORT,
        environment=context.environment,
        gateway_port=gateway_port,
        gateway_pid=running.pid if running else None,
        certificate=running.certificate if running else "",
        gateway_disk=disk,
        removable=removable,
    )
    with context.terminal.spinner("checking"):
        findings = examine(machine)
    good = all(each.state != "missing" for each in findings)
    rows = [(each.name, each.state, each.found) for each in findings]
    advice = "\n".join(f"{each.name}: {each.advice}" for each in findings if each.advice)
    verdict = (
        "Ready: try `predictd demo`."
        if good
        else "Fix the items marked missing and run `predictd doctor` again."
    )
    document = {"ready": good, "findings": [asdict(each) for each in findings]}
    text = "\n\n".join(filter(None, (table(("WHAT", "STATE", "FOUND"), rows), advice, verdict)))
    context.terminal.result(document, text)
    return Exit.OK if good else Exit.FAILED


def _asked(context: Context) -> tuple[Json | None, tuple[int, int] | None]:
    """What the gateway on this data folder says of its disk; None for a user who may not ask."""
    try:
        with running_address(context.data).client(admin_key(context.data)) as client:
            disk, garbage = client.get("/site")["disk"], client.get("/garbage")
    except (ClientError, CommandFailed, KeyError):
        return None, None
    return disk, (len(garbage["garbage"]), garbage["bytes"])

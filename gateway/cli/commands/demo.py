"""The verb demo: a gateway, a project, a model and a prediction, without preparation.

The gateway runs as a child process that ends with the demo, also when the demo is killed. A gateway
that already runs on the data folder is used and left running. A second demo finds its model
deployed and only calls it. With `--once` all files are in a temporary folder, which is deleted.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.arguments import expiry
from gateway.cli.command import Group, argument, command
from gateway.cli.commands.deploy import find_model_of, start, watch_started
from gateway.cli.commands.key import new_model_key, revoke_model_keys
from gateway.cli.commands.project import create_project
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
from gateway.cli.lookup import model_path
from gateway.client import Json
from gateway.suggested_command import suggested

if TYPE_CHECKING:
    import subprocess

PROJECT = "iris-demo"
MODEL = "predict-petal-width"
EXAMPLE = {"petal_length": 5.4}
KEY_LIFE = "30d"
BUILD = {
    "file_path": "predict.py",
    "function_name": "predict",
    "comment": "demo",
    "example": EXAMPLE,
}
DEPLOYMENT = {"replicas": 2, "cpu": 1.0, "environment": {}}
GRACE_SECONDS = 30
SERVE = [sys.executable, "-m", "gateway.cli", "serve"]


@command(
    "demo",
    "start a gateway, deploy a sample model and call it",
    argument("--once", action="store_true", help="exit after the call and delete all files"),
    argument("--port", metavar="PORT", type=int, help="port of the demo's gateway"),
    local=True,
    examples=["predictd demo", "predictd demo --once"],
    group=Group.GATEWAY,
)
def demo(context: Context) -> None:
    """Builds, deploys and calls a model; then serves until Ctrl-C, unless `--once`."""
    from tempfile import TemporaryDirectory

    once = context.arguments.once
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as for Ctrl-C
    resources = context.resources
    if once:
        temporary = TemporaryDirectory(prefix="predictd-demo-", ignore_cleanup_errors=True)
        data = Path(resources.enter_context(temporary))
    else:
        data = context.data
    process, address = None, answering_address(data)
    if address:
        context.terminal.say(f"Using the gateway at {address.url}.")
    else:
        process = resources.enter_context(_started(context, data))
        address = running_address(data)
    context.client = resources.enter_context(address.client(admin_key(data)))
    _show(context, _model(context))
    if process and not once:
        _serve_until_interrupt(context, process, address.url, data)


def _serve_until_interrupt(
    context: Context, process: "subprocess.Popen[bytes]", url: str, data: Path
) -> None:
    try:
        context.terminal.say(f"\nServing at {url} until Ctrl-C. The data folder is {data}.")
        process.wait()
    except KeyboardInterrupt:
        context.terminal.say("Stopping.")
        return
    raise CommandFailed("the gateway has ended", "run `predictd doctor`", Exit.BROKEN)


@contextmanager
def _started(context: Context, data: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Starts the demo's own gateway, waits until it is ready, and ends it with the block."""
    import subprocess

    command = [*SERVE, "--json", "--data", str(data), "--parent", str(os.getpid())]
    command += ["--port", str(_port(context))]
    # In its own process group: Ctrl-C reaches only the demo, which then stops the gateway.
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as process:
        try:
            with context.terminal.spinner("starting a gateway"):
                assert process.stdout
                ready = process.stdout.readline()
            if not ready:
                message = "the demo's gateway did not start, see its messages above"
                raise CommandFailed(message, "run `predictd doctor`", Exit.FAILED)
            url = json.loads(ready)["url"]
            context.terminal.say(f"Started a gateway at {url}.")
            yield process
        finally:
            _end(process)


def _port(context: Context) -> int:
    """The port that was given; else the default one if it is free; else 0, any free one."""
    from gateway.operations.doctor import is_free

    if context.arguments.port is not None:
        return int(context.arguments.port)
    return PORT if not context.arguments.once and is_free(HOST, PORT) else 0


def _end(process: "subprocess.Popen[bytes]") -> None:
    import subprocess

    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _model(context: Context) -> Json:
    """The demo's model, deployed."""
    client, say = context.client, context.terminal.say
    projects = [each for each in client.listing("/projects") if each["name"] == PROJECT]
    if projects:
        project = projects[0]
    else:
        say(f"Creating project {PROJECT} from the Python template.")
        project = create_project(client, {"name": PROJECT, "template": "Python"})
    model = find_model_of(client, project, MODEL)
    if model and model["status"] == "deployed":
        say(f"{MODEL} is already deployed.")
        return model
    say(f"Building {MODEL}: a virtualenv, scikit-learn, the fitted model. This takes a minute.")
    started = start(client, project, model, BUILD, DEPLOYMENT, name=MODEL)
    watch_started(context, *started)
    return client.get(model_path(started[0]))


def _show(context: Context, model: Json) -> None:
    """Calls the model, and shows how to."""
    from gateway.client.snippets import samples

    client = context.client
    answer = client.call(model["access_key"], EXAMPLE)["response"]
    key = ""
    if model["auth_enabled"]:
        # A key is shown once, so one of an earlier run cannot be shown again.
        revoke_model_keys(client, PROJECT)
        key = new_model_key(client, PROJECT, expiry(KEY_LIFE))
    texts = samples(model["url"], model["access_key"], EXAMPLE, key)
    document = {"model": model, "request": EXAMPLE, "answer": answer, "samples": texts._asdict()}
    text = (
        f"{MODEL} answers {json.dumps(EXAMPLE)} with {json.dumps(answer)}.\n\n"
        f"Call it with curl:\n\n{texts.curl}\n\nwith Python:\n\n{texts.python}\n\n"
        f"with R:\n\n{texts.r}"
    )
    if key:
        text += (
            f"\n\nThe key after `Bearer` is valid for {KEY_LIFE[:-1]} days. "
            "Create others with `predictd key create`."
        )
    if not context.arguments.once:
        data = ("--data", context.arguments.data) if context.arguments.data else ()
        own = suggested("deploy", "predict.py:predict", *data)
        text += (
            f"\n\nSee it in a browser with {suggested('open', *data)}.\n"
            f"Now your own: run {own} in a folder with a predict.py."
        )
    context.terminal.result(document, text)

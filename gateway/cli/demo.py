"""`predictd demo`: a gateway, a project, a model, an answer, with nothing to prepare.

The gateway runs as a child that ends with the demo, however the demo ends. A gateway that already
runs on the data folder is used as it is, and left running. Run again, the demo finds its model
deployed and just calls it. With `--once` everything lives in a temporary folder, and nothing is
left behind.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from gateway.cli.arguments import expiry
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
from gateway.cli.deploy import get_or_create_model, start_build, start_deployment
from gateway.cli.keys import new_model_key
from gateway.cli.lookup import model_path
from gateway.cli.projects import create_project
from gateway.cli.watch import follow_build, wait_for_deployment
from gateway.client import Json
from gateway.client.snippets import samples
from gateway.operations.doctor import is_free

PROJECT = "iris-demo"
MODEL = "predict-petal-width"
EXAMPLE = {"petal_length": 5.4}
KEY_LIFE = "30d"  # enough to try it; whoever stays makes keys of their own
WISHES = {"replicas": 2, "cpu": 1.0, "environment": {}}
GRACE_SECONDS = 30
SERVE = [sys.executable, "-m", "gateway.cli", "serve"]


def demo(context: Context) -> None:
    """From nothing to a prediction; then serves until Ctrl-C, unless `--once`."""
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
        context.terminal.say(f"Using the gateway that runs at {address.url}.")
    else:
        process = resources.enter_context(_started(context, data))
        address = running_address(data)
    context.client = resources.enter_context(address.client(admin_key(data)))
    _show(context, _model(context))
    if process and not once:
        told = f"\nServing at {address.url} until Ctrl-C. The data stays in {data}."
        _serve_on(context, process, told)


def _serve_on(context: Context, process: "subprocess.Popen[bytes]", told: str) -> None:
    try:
        context.terminal.say(told)
        process.wait()
    except KeyboardInterrupt:
        context.terminal.say("Stopping.")
        return
    raise CommandFailed("The gateway ended by itself.", "Try `predictd doctor`.", Exit.BROKEN)


@contextmanager
def _started(context: Context, data: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A gateway of our own, from its being ready until it has ended."""
    command = [*SERVE, "--json", "--data", str(data), "--parent", str(os.getpid())]
    command += ["--port", str(_port(context))]
    # In a group of its own: Ctrl-C is for the demo, which then ends the gateway in good order.
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as process:
        try:
            with context.terminal.live("starting a gateway"):
                assert process.stdout
                told = process.stdout.readline()
            if not told:
                message = "The demo's gateway did not start; what it said is above."
                raise CommandFailed(message, "`predictd doctor` looks for causes.", Exit.FAILED)
            url = json.loads(told)["url"]
            context.terminal.say(f"Started a gateway at {url}.")
            yield process
        finally:
            _end(process)


def _port(context: Context) -> int:
    """The port asked for; else the usual one, so that bookmarks last; else, 0, any free one."""
    if context.arguments.port is not None:
        return int(context.arguments.port)
    return PORT if not context.arguments.once and is_free(HOST, PORT) else 0


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _model(context: Context) -> Json:
    """The demo's model, deployed; built first if need be."""
    client, say = context.client, context.terminal.say
    projects = [each for each in client.listing("/projects") if each["name"] == PROJECT]
    if projects:
        project = projects[0]
    else:
        say(f"Creating the project {PROJECT} from the Python template.")
        project = create_project(client, {"name": PROJECT, "template": "Python"})
    model, _ = get_or_create_model(client, project, MODEL)
    if model["status"] == "deployed":
        say(f"{MODEL} is deployed already.")
        return model
    say(f"Building {MODEL}: a virtualenv, scikit-learn, the fitted model. This takes a minute.")
    build = start_build(
        client, model, file="predict.py", function="predict", comment="demo", example=EXAMPLE
    )
    build = follow_build(context, model, build)
    deployment = start_deployment(client, model, build, WISHES)
    wait_for_deployment(context, model, build, deployment)
    return client.get(model_path(model))


def _show(context: Context, model: Json) -> None:
    """Calls the model, and tells how to."""
    client = context.client
    answer = client.call(model["access_key"], EXAMPLE)["response"]
    key = new_model_key(client, PROJECT, expiry(KEY_LIFE)) if model["auth_enabled"] else ""
    texts = samples(f"{client.get('/site')['url']}/model", model["access_key"], EXAMPLE, key)
    document = {"model": model, "request": EXAMPLE, "answer": answer, "samples": texts._asdict()}
    text = (
        f"{MODEL} answers {json.dumps(EXAMPLE)} with {json.dumps(answer)}.\n\n"
        f"Call it with curl:\n\n{texts.curl}\n\nwith Python:\n\n{texts.python}\n\n"
        f"with R:\n\n{texts.r}"
    )
    if key:
        text += (
            f"\n\nThe key after `Bearer` is yours for {KEY_LIFE[:-1]} days; "
            "`predictd key new` makes others."
        )
    context.terminal.result(document, text)

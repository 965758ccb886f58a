"""The verb try: runs a function once, or serves it while its files change, without a model."""

import json
import shlex
import threading
from argparse import ArgumentTypeError, Namespace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gateway.cli.arguments import file_and_function, json_value
from gateway.cli.command import Group, argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.file_changes import changes
from gateway.cli.options import GPUS, KERNEL, OF_PROJECT, UPLOAD
from gateway.cli.project_check import look_before_upload
from gateway.cli.project_of_folder import current_project
from gateway.cli.sessions import FollowedSession, open_session
from gateway.client import ClientError, Json

_MOST_BODY = 8 * 1024 * 1024  # bytes
_TRACEBACK = "the traceback is above"
_NULL = "the request was null: give one as JSON behind FILE:FUNCTION; the traceback is above"


@command(
    "try",
    "run a function once, as a model would, without a model",
    argument("target", metavar="FILE:FUNCTION", help="or the name of a model in predictd.toml"),
    argument(
        "request",
        metavar="JSON",
        nargs="?",
        type=json_value,
        help="the request, or @FILE, or - for stdin (default: the model's example, or null)",
    ),
    OF_PROJECT,
    UPLOAD,
    KERNEL,
    GPUS,
    argument("--watch", action="store_true", help="serve it here, and reload it on each change"),
    argument("--port", metavar="PORT", type=int, default=0, help="with --watch (default: any)"),
    examples=[
        "predictd try predict.py:predict '{\"petal_length\": 5.4}'",
        "predictd try predict.py:predict --watch",
    ],
    group=Group.SERVE,
)
def try_function(context: Context) -> None:
    """Runs the function in the environment and the confinement of a build. What it prints goes to
    stderr, what it returns, as JSON, to stdout."""
    _resolve(context.arguments)
    if context.arguments.port and not context.arguments.watch:
        message = "--port is the port of --watch"
        raise CommandFailed(message, "add --watch, or leave --port out", Exit.USAGE)
    if context.arguments.watch:
        _watch(context)
        return
    file, function = context.arguments.target
    with open_session(context, *_asked(context)) as session:
        answer = session.call(context.arguments.request)
    if not answer["success"]:
        advice = _NULL if context.arguments.request is None else _TRACEBACK
        message = f"{file}:{function} failed: {answer['problem']}"
        raise CommandFailed(message, advice, Exit.FAILED)
    context.terminal.result(answer, json.dumps(answer["response"], ensure_ascii=False))


def _resolve(arguments: Namespace) -> None:
    """Makes the target a file and a function. A model of predictd.toml has a kernel, GPUs and an
    example, too; what was given wins. The example is also that of a function of the file that was
    named."""
    from gateway.cli.project_file import declared_model, example_of

    if ":" in arguments.target:
        try:
            arguments.target = file_and_function(arguments.target)
        except ArgumentTypeError as error:
            raise CommandFailed(str(error), "see `predictd help try`", Exit.USAGE) from None
        file, function = arguments.target
        example = example_of(file, function, Path.cwd())
    else:
        table = declared_model(arguments.target, Path.cwd())
        arguments.target = (table.file, table.function)
        arguments.kernel = arguments.kernel or table.kernel
        if arguments.gpus is None:
            arguments.gpus = table.gpus
        example = table.example
    if arguments.request is None:
        arguments.request = example


def _asked(context: Context) -> tuple[Json, Json]:
    """The project, with its files as they are now, and the session to ask for."""
    file, function = context.arguments.target
    look_before_upload([context.arguments], Exit.FAILED)
    project, _ = current_project(context, file)
    asked = {
        "kind": "function",
        "file_path": file,
        "function_name": function,
        "kernel": context.arguments.kernel or "",
        "nvidia_gpus": context.arguments.gpus or 0,
    }
    return project, asked


class _Reloaded:
    """The function as it was at the last change that can be served."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._session: FollowedSession | None = None
        # The client is for one thread at a time.
        self._lock = threading.Lock()

    def load(self) -> None:
        """Replaces the session by one with the present files. Raises CommandFailed, ClientError;
        then the one before still serves."""
        with self._lock:
            fresh = FollowedSession(self._context, *_asked(self._context))
            try:
                fresh.wait_ready()
            except BaseException:
                fresh.end()
                raise
            self._end()
            self._session = fresh
        threading.Thread(target=_follow, args=(fresh,), daemon=True).start()

    def call(self, request: object) -> Json:
        with self._lock:
            assert self._session is not None
            return self._session.call(request)

    def end(self) -> None:
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._session is not None:
            self._session.end()


def _follow(session: FollowedSession) -> None:
    try:
        session.follow()
    except ClientError:
        session.outcome = {"status": "lost"}


def _watch(context: Context) -> None:
    served = _Reloaded(context)
    server = _listening(context.arguments.port, _handler(served))
    try:
        served.load()
    except BaseException:
        server.server_close()
        raise
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/model"
    body = shlex.quote(json.dumps({"request": context.arguments.request}, ensure_ascii=False))
    context.terminal.line(
        f"Serving at {url}, until Ctrl-C:\n"
        f"  curl -X POST {url} -H 'Content-Type: application/json' -d {body}"
    )
    try:
        for _ in changes(Path.cwd()):
            context.terminal.say("The files have changed: reloading.")
            try:
                served.load()
            except (CommandFailed, ClientError) as error:
                context.terminal.failed(error.message, error.advice)
                context.terminal.say("The function before the change still serves.")
            else:
                context.terminal.say("Reloaded.")
    except KeyboardInterrupt:
        pass
    finally:
        server.shutdown()
        served.end()


def _listening(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """A server that listens already: its port is known to be free before a session is opened."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not from 1 to 65535"
        message = f"cannot listen on port {port}: {reason}"
        raise CommandFailed(message, "choose another, or leave --port out", Exit.USAGE) from None


def _handler(served: _Reloaded) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers as `/model` does, without keys."""

        def do_POST(self) -> None:
            try:
                size = min(int(self.headers.get("Content-Length", "0")), _MOST_BODY)
                body = json.loads(self.rfile.read(size))
                request = body["request"]
            except (ValueError, TypeError, KeyError):
                return self._answer(400, {"message": 'the body is not {"request": ...} as JSON'})
            try:
                answer = served.call(request)
            except ClientError as error:
                return self._answer(503, {"message": str(error)})
            if answer["success"]:
                return self._answer(200, {"success": True, "response": answer["response"]})
            return self._answer(500, {"success": False, "message": answer["problem"]})

        def _answer(self, status: int, document: Json) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler

"""Runs one command: parses it, runs its verb, and turns its end into an exit code.

An expected failure prints `error:` and what failed, `hint:` and the next step, on stderr; with
`--json` also as a document on stdout. An unexpected one is a defect and shows its traceback.
"""

import itertools
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TextIO

from gateway.cli.context import CommandFailed, Context, Detached, Exit
from gateway.cli.parser import UsageFailed, make_parser
from gateway.cli.terminal import CannotWrite, Terminal, discard_output
from gateway.cli.time_limit import TimeLimitReached, time_limit
from gateway.client import ApiError, ClientError, ModelFailed, ServerUnreachable

SIGPIPE_EXIT = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `predictd` with these arguments; returns its exit code."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        _never_fail_to_encode(stream)
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        parser = make_parser()
        if "_ARGCOMPLETE" in os.environ:  # set by the shell that completes a command line
            from gateway.cli.completion import complete

            complete(parser, os.environ)
        arguments = parser.parse_args(given)
        if arguments.run is None:  # no verb: the help of all commands, or of the noun
            print(arguments.help_of.format_help(), file=sys.stderr, end="")
            return Exit.USAGE
        return _run(arguments, _terminal(as_json=arguments.json))
    except UsageFailed as error:
        terminal = _terminal(as_json=_wants_json(given))
        terminal.say(error.usage.rstrip("\n"))
        _report(terminal, error)
        return Exit.USAGE
    except SystemExit as end:
        return int(end.code or 0)
    except BrokenPipeError:
        # The reader of stdout has closed it, so the interpreter cannot flush at exit either.
        discard_output()
        return SIGPIPE_EXIT


def _terminal(*, as_json: bool) -> Terminal:
    return Terminal(sys.stdin, sys.stdout, sys.stderr, as_json=as_json, environment=os.environ)


def _wants_json(words: Sequence[str]) -> bool:
    """Whether arguments that cannot be understood ask for JSON. After `--` they are a script's."""
    return "--json" in itertools.takewhile(lambda word: word != "--", words)


def _run(arguments: Namespace, terminal: Terminal) -> int:
    context = Context(arguments, terminal, os.environ)
    try:
        with context.resources, time_limit(getattr(arguments, "timeout", None)):
            return int(arguments.run(context) or Exit.OK)
    except Detached as started:
        terminal.result(started.document, started.text)
        return Exit.OK
    except (ClientError, CommandFailed) as error:
        _report(terminal, error)
        return exit_code(error)
    except TimeLimitReached:
        _report(terminal, CommandFailed("the time of --timeout is over", "", Exit.TIMED_OUT))
        return Exit.TIMED_OUT
    except FileNotFoundError:
        if _has_current_folder():
            raise
        gone = CommandFailed(
            "the current folder does not exist any more", "go to a folder that exists", Exit.USAGE
        )
        _report(terminal, gone)
        return gone.exit_code
    except CannotWrite as error:
        discard_output()
        terminal.failed(f"cannot write the result: {error.strerror}", "")
        return Exit.FAILED
    except KeyboardInterrupt:
        terminal.say("interrupted")
        return Exit.INTERRUPTED


def _has_current_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def exit_code(error: ClientError | CommandFailed) -> Exit:
    """The exit code, which tells scripts who must act."""
    match error:
        case CommandFailed():
            return error.exit_code
        case ServerUnreachable():
            return Exit.UNREACHABLE
        case ModelFailed() | ApiError(code="model.notready"):
            return Exit.FAILED
        case ApiError(code="project.full"):
            return Exit.REFUSED
        case ApiError(status=status) if status < 500:
            return Exit.REFUSED
    return Exit.BROKEN


def _report(terminal: Terminal, error: ClientError | CommandFailed) -> None:
    document = {"message": error.message, "advice": error.advice}
    if isinstance(error, ApiError):
        document |= {
            "code": error.code,
            "status": str(error.status),
            "request_id": error.request_id,
        }
    if terminal.as_json:
        terminal.result({"error": document}, "")
    terminal.failed(error.message, error.advice)


def _open_missing_streams() -> None:
    """Opens /dev/null for each of the descriptors 0, 1 and 2 that is closed. A file or socket that
    is opened later would get its number, and receive what is written to stderr."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The kernel takes the lowest free number. Children inherit it as a standard stream.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _never_fail_to_encode(stream: TextIO) -> None:
    # A terminal that cannot show a character shows a question mark.
    if reconfigure := getattr(stream, "reconfigure", None):
        reconfigure(errors="replace")

"""`deploy --check` and `--watch`, what is told before a folder is uploaded, and what a first try
that is refused leaves: nothing."""

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.file_changes import changes
from gateway.cli.project_of_folder import check_file
from gateway.cli.terminal import plural
from gateway.client import ApiError, ClientError, Json, ServerUnreachable

_BUILD_SCRIPT = "cdsw-build.sh"


def look_before_upload(models: Sequence[Namespace], status: Exit) -> None:
    """Raises CommandFailed for the first of these models whose file is not in the current folder or
    whose function can certainly not be served. Nothing is sent for it; the gateway checks the rest.
    """
    folder = Path.cwd()
    for each in models:
        if each.project and not each.upload:
            continue  # the files may be those of the gateway
        file, function = each.target
        check_file(folder, file)
        script = folder / (getattr(each, "build_script", None) or _BUILD_SCRIPT)
        from builder import CheckRequest, problem_here

        try:
            if (folder / file).resolve() != folder.resolve() / file:
                continue  # behind a link, which the gateway may not have
            source = (folder / file).read_bytes()
            found = problem_here(
                CheckRequest(file=file, function=function),
                source,
                script.read_bytes() if script.is_file() else None,
            )
        except OSError:
            continue  # the upload says what is wrong
        if found is not None:
            raise CommandFailed(found.problem, found.advice, status)


@contextmanager
def removed_if_refused(context: Context) -> Iterator[Callable[[Json], None]]:
    """Projects that are passed to the yielded function are deleted if the gateway refuses the
    block, or if the command only checks the files. A linked folder keeps its files."""
    created: list[Json] = []
    try:
        yield created.append
    except (ApiError, CommandFailed):
        _delete(context, created)
        raise
    if context.arguments.check:
        _delete(context, created)


def _delete(context: Context, projects: list[Json]) -> None:
    for project in projects:
        with suppress(ApiError, ServerUnreachable):
            context.client.delete(f"/projects/{project['id']}")
            context.terminal.say(f"Deleted project {project['name']!r} again.")


def check_files(context: Context, project: Json) -> tuple[Json, str]:
    """Checks the project's files for the model that the command line names; returns what is shown.
    Raises CommandFailed with all problems."""
    file, function = context.arguments.target
    asked = {
        "file_path": file,
        "function_name": function,
        "kernel": context.arguments.kernel or "",
    }
    report = context.client.post(f"/projects/{project['id']}:check", asked)
    for line in (report["summary"], *(f"Note: {note}" for note in report["notes"])):
        context.terminal.say(line)
    if not report["passed"]:
        problems = report["problems"]
        found = "\n".join(f"- {each['problem']}" for each in problems)
        advice = " ".join(dict.fromkeys(each["advice"] for each in problems))
        title = f"the check of {file}:{function} found {plural(len(problems), 'problem')}"
        raise CommandFailed(f"{title}:\n{found}", advice, Exit.FAILED)
    return report, f"{file}:{function} passes the check. Nothing was built."


def redeploy_on_changes(context: Context, deploy: Callable[[], None]) -> None:
    """Calls `deploy` after each change of the current folder, until Ctrl-C. What fails is told, and
    the deployment before it still serves."""
    context.terminal.say("Waiting for changes of the files, until Ctrl-C.")
    try:
        for _ in changes(Path.cwd()):
            try:
                deploy()
            except (CommandFailed, ClientError) as error:
                context.terminal.failed(error.message, error.advice)
            context.terminal.say("Waiting for changes of the files, until Ctrl-C.")
    except KeyboardInterrupt:
        pass

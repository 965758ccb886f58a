"""The project that a command acts on: the one that was named, or that of the current folder.

A folder is uploaded to its project before each build or experiment, on any machine. A
project that an administrator has linked to a folder (`project create --path`) has its files in that
folder, and nothing is uploaded. Paths are compared only with a gateway that runs on a data folder
of this machine: on another machine, or behind a tunnel, an equal path is another folder.
"""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from itertools import count
from pathlib import Path

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.folder_projects import FolderProjects, folder_projects, remembered_project
from gateway.cli.lookup import find_project, gateway_of
from gateway.cli.uploading import upload
from gateway.client import ApiError, ClientError, Json

_MOST_NAMES = 100


def current_project(
    context: Context, file: str, created: Callable[[Json], None] = lambda _: None
) -> tuple[Json, bool]:
    """The project with the files of the folder as they are now, and whether it is new; then
    `created` is called with it. `file`, if one is named, has to be in the folder."""
    arguments, folder = context.arguments, Path.cwd()
    if arguments.project:
        return _named_project(context, folder, file), False
    if arguments.upload:
        message = "--upload needs --project"
        raise CommandFailed(message, "name the project, or leave --upload out", Exit.USAGE)
    if file:
        check_file(folder, file)
    _refuse_home(folder)
    with _known(context) as known:
        project, is_new = _project_of(context, folder, known)
    if is_new:
        created(project)
    if project["linked"]:
        return project, is_new
    try:
        upload(context, project, folder, is_new=is_new)
    except BaseException:
        if is_new:
            _undo(context, folder, project)
        raise
    return project, is_new


def project_here(context: Context) -> Json:
    """The project that was named, else that of the current folder. Raises CommandFailed."""
    if context.arguments.project:
        return find_project(context.client, context.arguments.project)
    folder = Path.cwd()
    with _known(context) as known:
        found = _existing(context, folder, known, context.client.listing("/projects"))
    if found is None:
        message = f"the folder {folder} has no project on this gateway"
        raise CommandFailed(message, "name one with --project", Exit.USAGE)
    return found


def upload_to(context: Context, project: Json, folder: Path) -> Json:
    """Uploads a folder to a project, and remembers that it belongs to it."""
    _refuse_home(folder)
    if project["linked"]:
        raise CommandFailed(
            f"project {project['name']!r} is linked to a folder of the gateway's machine",
            "change the files in that folder",
            Exit.REFUSED,
        )
    done = upload(context, project, folder)
    with _known(context) as known:
        known.put(folder, project["id"])
    return done


def uploads_here(context: Context, project_id: str) -> bool:
    """Whether the current folder was uploaded to this project."""
    try:
        return project_id == remembered_project(
            context.environment, gateway_of(context), Path.cwd()
        )
    except (OSError, ValueError):
        return False


def is_local(context: Context) -> bool:
    """Whether the gateway runs on a data folder of this machine, so that paths mean the same."""
    return not context.named


def check_file(folder: Path, file: str) -> None:
    """Raises CommandFailed for a file that is not in the folder."""
    if Path(file).is_absolute() or ".." in Path(file).parts:
        message = f"file {file!r} is not named by its path in {folder}"
        advice = "go to the folder to deploy, and name the file by its path from there"
        raise CommandFailed(message, advice, Exit.USAGE)
    if not (folder / file).is_file():
        close = similar_file(folder, file)
        hint = f"did you mean {close!r}? " if close else ""
        raise CommandFailed(
            f"file {file!r} does not exist in {folder}",
            f"{hint}go to the project's folder, or use --project",
            Exit.USAGE,
        )


def similar_file(folder: Path, file: str) -> str:
    """A Python or R file of the folder that may be meant, or ""."""
    for ending in (".py", ".R", ".r"):
        if (folder / f"{file}{ending}").is_file():
            return f"{file}{ending}"
    names = [each.name for each in (*folder.glob("*.py"), *folder.glob("*.[Rr]"))]
    close = get_close_matches(file, names, 1)
    return close[0] if close else ""


def _named_project(context: Context, folder: Path, file: str) -> Json:
    project = find_project(context.client, context.arguments.project)
    with _known(context) as known:
        belongs = known.get(folder) == project["id"]
    if (belongs or context.arguments.upload) and not project["linked"]:
        check_file(folder, file)
        upload_to(context, project, folder)
    elif context.arguments.upload:
        upload_to(context, project, folder)
    elif (folder / file).is_file() and not project["linked"]:
        context.terminal.say(
            f"Using the files that project {project['name']!r} has on the gateway; `--upload` "
            "uploads this folder first."
        )
    return project


def _project_of(context: Context, folder: Path, known: FolderProjects) -> tuple[Json, bool]:
    """The folder's project, and whether it was created here."""
    projects = context.client.listing("/projects")
    if (found := _existing(context, folder, known, projects)) is not None:
        return found, False
    project = _create(context, folder, {each["name"] for each in projects})
    known.put(folder, project["id"])
    context.terminal.say(f"Created project {project['name']!r} for this folder.")
    return project, True


def _existing(
    context: Context, folder: Path, known: FolderProjects, projects: list[Json]
) -> Json | None:
    remembered = known.get(folder)
    for project in projects:
        linked = project["linked"] and project["path"] == str(folder)
        if project["id"] == remembered or (linked and is_local(context)):
            return project
    return None


def _create(context: Context, folder: Path, taken: set[str]) -> Json:
    """A new, empty project named like the folder. Names of projects that this user may not see are
    taken, too."""
    name = folder.name.replace("/", "-").strip() or "project"
    names = (name if n == 1 else f"{name}-{n}" for n in count(1))
    for attempt in range(_MOST_NAMES):
        free = next(each for each in names if each not in taken)
        try:
            return context.client.post("/projects", {"name": free, "template": "local"})
        except ApiError as error:
            if error.code != "name.taken" or attempt + 1 == _MOST_NAMES:
                raise
    raise AssertionError


def _undo(context: Context, folder: Path, project: Json) -> None:
    """Deletes a project that this command has created, so that a failed upload leaves nothing."""
    with suppress(ClientError, CommandFailed, KeyboardInterrupt):
        context.client.delete(f"/projects/{project['id']}")
        with _known(context) as known:
            known.put(folder, "")
        context.terminal.say(f"Deleted project {project['name']!r} again.")


def _refuse_home(folder: Path) -> None:
    if folder in (Path("/"), Path.home().resolve()):
        raise CommandFailed(
            f"{shlex.quote(str(folder))} would be uploaded as a whole, and it is not a project",
            "go to the project's folder, or use --project",
            Exit.USAGE,
        )


@contextmanager
def _known(context: Context) -> Iterator[FolderProjects]:
    """The remembered projects of this user's folders, locked. Raises CommandFailed."""
    try:
        with folder_projects(context.environment, gateway_of(context)) as known:
            yield known
    except (OSError, ValueError) as error:
        raise CommandFailed(
            f"cannot remember which project this folder has: {error}",
            "make that file writable or remove it, or set XDG_CONFIG_HOME",
            Exit.FAILED,
        ) from error

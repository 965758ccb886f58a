"""The verbs `predictd files ...`: ls, put, get, rm, sync.

They act on the project that is named, else on that of the current folder. `get` trusts no name that
a gateway sends: it creates files beneath the target only, by descriptors and never through a link.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from gateway.cli.command import argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.options import YES
from gateway.cli.project_of_folder import project_here, upload_to
from gateway.cli.terminal import plural, table, when
from gateway.cli.uploading import amount, bar, named
from gateway.client import Json, ServerUnreachable, multipart

_PROJECT = argument(
    "--project", metavar="PROJECT", help="default: the project of the current folder"
)
_PATH = argument("path", metavar="PATH", help="its path in the project")
_PIECE = 256 * 1024


@command(
    "files ls",
    "list the files of a project",
    argument("path", metavar="PATH", nargs="?", default="", help="a folder of the project"),
    _PROJECT,
    examples=["predictd files ls", "predictd files ls src --project iris"],
)
def ls(context: Context) -> None:
    """The entries of one folder."""
    project = project_here(context)
    found = context.client.listing(_path(project, context.arguments.path))
    rows = [
        (
            "" if each["is_dir"] else amount(int(each["file_size"])),
            when(each["last_modified"]),
            name,
        )
        for each in found
        for name in [_shown(each)]
    ]
    text = table(("SIZE", "CHANGED (UTC)", "NAME"), rows) if rows else "No files."
    context.terminal.result({"files": found}, text)


@command(
    "files put",
    "upload files to a project",
    argument("files", metavar="FILE", nargs="+", help="files of this machine"),
    argument(
        "--to", metavar="FOLDER", default="", help="folder of the project (default: its root)"
    ),
    _PROJECT,
    examples=["predictd files put model.pkl --project iris"],
)
def put(context: Context) -> None:
    """Uploads files, each under its name. They stay when the folder is uploaded later."""
    project = project_here(context)
    with ExitStack() as stack:
        opened = {_target(context, name): _opened(name, stack) for name in context.arguments.files}
        total = sum(_size(file) for file in opened.values())
        boundary, body = multipart(opened.items())
        media_type = f"multipart/form-data; boundary={boundary}"
        with context.terminal.spinner("uploading") as spinner:

            def counted() -> Iterator[bytes]:
                done = 0
                for piece in body:
                    done = min(done + len(piece), total)
                    spinner.label = f"uploading {bar(done, total)} {amount(done)}"
                    yield piece

            context.client.send("PUT", _path(project), media_type, counted())
    text = f"Uploaded {plural(len(opened), 'file')} ({amount(total)}) to {project['name']!r}."
    context.terminal.result({"files": [*opened], "bytes": total}, text)


@command(
    "files get",
    "download a file or folder of a project",
    _PATH,
    argument("target", metavar="TARGET", nargs="?", help="default: its name, here; - is stdout"),
    _PROJECT,
    YES,
    examples=["predictd files get model.pkl", "predictd files get out results --project iris"],
)
def get(context: Context) -> None:
    """Downloads a file, or a folder with its content. Links are left out. Files of the same names
    are replaced if that is confirmed, each when it is complete."""
    project, path = project_here(context), _cleaned(context.arguments.path)
    entry = _entry(context, project, path)
    target = context.arguments.target
    if target == "-":
        _to_stdout(context, project, path, entry)
        return
    name = _single(path.rpartition("/")[2] or project["name"])
    root = Path(target).absolute() if target else Path.cwd() / name
    from builder import Folder, make_folder

    names, left_out = list[str](), list[str]()
    size = 0
    above = root if entry is None else root.parent
    try:
        make_folder(above)
    except OSError as error:
        message = f"cannot create {above}: {error.strerror}"
        raise CommandFailed(message, "choose another TARGET", Exit.FAILED) from error
    wanted = [(entry, [root.name])] if entry else [*_files_below(context, project, path, left_out)]
    _confirm_replaced(context, above, ["/".join(place) for _, place in wanted])
    with Folder.root(above.resolve()) as top, context.terminal.spinner("downloading") as spinner:
        for each, place in wanted:
            spinner.label = f"downloading {each['path']}"
            try:
                with top.folder(place[:-1], make=True) as folder, folder.writing(place[-1]) as file:
                    size += _download(context, project, each, file)
            except OSError as error:
                message = f"cannot write {'/'.join(place)!r} in {above}: {error.strerror}"
                raise CommandFailed(message, "choose another TARGET", Exit.FAILED) from error
            names.append("/".join(place))
    without = f" Left out {plural(len(left_out), 'link')}." if left_out else ""
    text = f"Downloaded {plural(len(names), 'file')} ({amount(size)}) to {root}.{without}"
    document = {"target": str(root), "files": names, "bytes": size, "left_out": left_out}
    context.terminal.result(document, text)


@command(
    "files rm",
    "delete a file or folder of a project",
    _PATH,
    _PROJECT,
    YES,
    examples=["predictd files rm old.csv --project iris"],
)
def rm(context: Context) -> None:
    """Deletes a file, or a folder with its content, on the gateway only."""
    project, path = project_here(context), context.arguments.path
    context.confirm(f"Delete {path!r} of project {project['name']!r}?")
    context.client.delete(_path(project, path))
    context.terminal.result({"deleted": path}, f"Deleted {path!r} of {project['name']!r}.")


@command(
    "files sync",
    "upload the current folder to a project",
    _PROJECT,
    examples=["predictd files sync --project iris"],
)
def sync(context: Context) -> None:
    """Makes the uploaded files of the project those of the current folder. Later commands in the
    folder use this project."""
    project = project_here(context)
    done = upload_to(context, project, Path.cwd())
    text = f"Project {project['name']!r} has the {plural(done['files'], 'file')} of this folder."
    context.terminal.result({"project": project["id"], **done}, text)


def _confirm_replaced(context: Context, above: Path, names: Sequence[str]) -> None:
    """Asks before files of this machine are replaced: they may have changes that exist nowhere
    else."""
    if present := [each for each in names if os.path.lexists(above / each)]:
        context.confirm(f"Replace {named(present)} in {above}?")


def _files_below(
    context: Context, project: Json, path: str, left_out: list[str]
) -> Iterator[tuple[Json, list[str]]]:
    """The files below a folder, each with its names below the target."""
    ahead: list[tuple[str, list[str]]] = [(path, [])]
    while ahead:
        folder, place = ahead.pop()
        for each in context.client.listing(_path(project, folder)):
            inner = [*place, _single(each["path"].rpartition("/")[2])]
            if each["is_dir"]:
                ahead.append((each["path"], inner))
            elif "link" in each:
                left_out.append(each["path"])
            else:
                yield each, inner


def _entry(context: Context, project: Json, path: str) -> Json | None:
    """The file at a path; None for a folder. Raises CommandFailed."""
    above, _, name = path.rpartition("/")
    if not path:
        return None
    for each in context.client.listing(_path(project, above)):
        if each["path"].rpartition("/")[2] != name:
            continue
        if "link" in each:
            message = f"{path!r} is a link to {each['link']!r}, and links are not followed"
            raise CommandFailed(message, "name the file itself", Exit.REFUSED)
        return None if each["is_dir"] else each
    message = f"project {project['name']!r} has no file {path!r}"
    raise CommandFailed(message, "list its files with `predictd files ls`", Exit.REFUSED)


def _download(context: Context, project: Json, entry: Json, file: BinaryIO) -> int:
    """Writes a file of the project; returns its size. Raises ServerUnreachable if it is cut
    short."""
    done, expected = 0, int(entry["file_size"])
    for block in context.client.blocks(f"{_path(project, entry['path'])}:download"):
        file.write(block)
        done += len(block)
    if done < expected:
        message = f"the download of {entry['path']!r} ended after {done} of {expected} bytes"
        raise ServerUnreachable(message, "try again")
    return done


def _to_stdout(context: Context, project: Json, path: str, entry: Json | None) -> None:
    if entry is None:
        raise CommandFailed(f"{path!r} is a folder", "name a TARGET folder", Exit.USAGE)
    _download(context, project, entry, context.terminal.binary)


def _path(project: Json, path: str = "") -> str:
    cleaned = _cleaned(path)
    return f"/projects/{project['id']}/files{f'/{quote(cleaned)}' if cleaned else ''}"


def _cleaned(path: str) -> str:
    """The path without slashes around it; "" for the project's root."""
    return path.strip("/") if path != "." else ""


def _single(name: str) -> str:
    """One name that a gateway sent. Raises CommandFailed for another text."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise CommandFailed(f"{name!r} is not the name of a file", "", Exit.BROKEN)
    return name


def _shown(entry: Json) -> str:
    name = entry["path"].rpartition("/")[2]
    if "link" in entry:
        return f"{name} -> {entry['link']}"
    return f"{name}/" if entry["is_dir"] else str(name)


def _target(context: Context, name: str) -> str:
    return "/".join([*filter(None, [context.arguments.to.strip("/")]), Path(name).name])


def _opened(name: str, stack: ExitStack) -> BinaryIO:
    try:
        return stack.enter_context(open(name, "rb"))
    except OSError as error:
        advice = "upload a folder with `predictd files sync`" if Path(name).is_dir() else ""
        raise CommandFailed(
            f"cannot read {name!r}: {error.strerror}", advice, Exit.USAGE
        ) from error


def _size(file: BinaryIO) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size

"""Uploads a folder to a project: what is missing there, with a bar, and one line about the result.

Two requests at most: the manifest is compared, then sent with the contents that the project lacks.
A new project lacks all, and a project that has everything gets no second request.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.terminal import Spinner, plural, printable
from gateway.client import ApiError, Json

if TYPE_CHECKING:
    from gateway.client.packing import PackedFolder

_BAR = 20
_NAMED = 5
# Another upload or `files put` may come in between.
_TRIES = 3
_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def upload(context: Context, project: Json, folder: Path, *, is_new: bool = False) -> Json:
    """Makes the uploaded files of the project those of the folder; returns what was done."""
    from gateway.client.packing import CannotPack, pack

    try:
        with context.terminal.spinner("reading the folder") as spinner:
            packed = pack(folder, _files_read(spinner))
        tell_left_out(context, packed)
        return _send(context, project, packed, is_new)
    except CannotPack as error:
        raise CommandFailed(error.message, error.advice, Exit.USAGE) from error


def _send(context: Context, project: Json, packed: "PackedFolder", is_new: bool) -> Json:
    path, name = f"/projects/{project['id']}/files", project["name"]
    for attempt in range(_TRIES):
        missing = packed.all_contents() if is_new else _missing(context, path, packed)
        if missing is None:
            context.terminal.say(
                f"Project {name!r} has the {plural(packed.files, 'file')} already."
            )
            return {"files": packed.files, "sent": 0, "bytes": 0}
        size = packed.size_of(missing)
        try:
            done = _sync(context, path, packed, missing)
        except ApiError as error:
            if error.code == "request.toolarge":
                raise _too_large(size) from error
            if error.code != "state.conflict" or attempt + 1 == _TRIES:
                raise
            is_new = False
            continue
        sent = f"{len(missing)} of {plural(packed.files, 'file')}"
        if missing:
            context.terminal.say(f"Uploaded {sent} ({amount(size)}) to project {name!r}.")
        else:
            files = plural(packed.files, "file")
            context.terminal.say(
                f"Updated project {name!r}: no content of the folder's {files} was missing."
            )
        if replaced := done["replaced"]:
            context.terminal.say(
                f"Replaced files that were changed on the gateway: {named(replaced)}."
            )
        return {"files": packed.files, "sent": len(missing), "bytes": size}
    raise AssertionError


def _missing(context: Context, path: str, packed: "PackedFolder") -> list[int] | None:
    """The entries whose content the project lacks; None if nothing is to be done."""
    from gateway.upload_manifest import MEDIA_TYPE

    body = packed.body([], lambda done, total: None)
    found = context.client.send("POST", f"{path}:compare", MEDIA_TYPE, body)
    return None if found["unchanged"] else _numbers(found["missing"])


def _sync(context: Context, path: str, packed: "PackedFolder", missing: Sequence[int]) -> Json:
    from gateway.upload_manifest import MEDIA_TYPE

    with context.terminal.spinner("uploading") as spinner:

        def show(done: int, total: int) -> None:
            spinner.label = f"uploading {bar(done, total)} {amount(done)} of {amount(total)}"

        return context.client.send("PUT", f"{path}:sync", MEDIA_TYPE, packed.body(missing, show))


def tell_left_out(context: Context, packed: "PackedFolder") -> None:
    """Says which files are not uploaded: a model that opens one of them would fail."""
    if packed.contents.ignored or packed.contents.rebuilt:
        context.terminal.say(f"The folder has {printable(packed.contents.summary())}.")
    if packed.special:
        context.terminal.say(f"Left out (no files or folders): {named(packed.special)}.")


def bar(done: int, total: int) -> str:
    full = _BAR * done // total if total else _BAR
    return "█" * full + "░" * (_BAR - full)


def amount(size: int) -> str:
    """A size in the units of file managers, as in the summary of a snapshot: `1.2 MB`."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def _files_read(spinner: Spinner) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        spinner.label = f"reading the folder: {done} of {plural(total, 'file')}"

    return show


def _numbers(ranges: str) -> list[int]:
    """The numbers of `0-3,7`."""
    found: list[int] = []
    for each in filter(None, ranges.split(",")):
        first, _, last = each.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def named(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _too_large(size: int) -> CommandFailed:
    return CommandFailed(
        f"the upload has {amount(size)}, which is more than the gateway's `max_upload_size`",
        "add data that the model does not need to .gitignore, or ask a site administrator to raise "
        "the setting",
        Exit.REFUSED,
    )

"""The verbs backup and restore."""

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from gateway.cli.command import Group, argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.terminal import mib, plural, table
from gateway.client import Json
from gateway.suggested_command import suggested


@command(
    "backup",
    "save all data of the gateway in one file",
    argument("file", metavar="FILE", help="a new file, or a folder for it"),
    examples=["predictd backup /mnt/backups"],
    group=Group.GATEWAY,
)
def backup(context: Context) -> None:
    """Downloads a backup from the gateway and verifies the file."""
    from builder import sync_folder

    target = _target(Path(context.arguments.file).absolute())
    part = target.with_name(f"{target.name}.part")
    try:
        try:
            _fetch(context, part)
            summary = _verify(context, part)
            os.rename(part, target)
            sync_folder(target.parent)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    except OSError as error:
        message = f"cannot write {target}: {error.strerror}"
        raise CommandFailed(message, "name another file", Exit.FAILED) from error
    size = target.stat().st_size
    notes = [f"Not in it: {printed}" for printed in summary["left_out"]]
    text = "\n".join(
        (
            f"{target}: {mib(size)}, {summary['entries']:,} members, verified.",
            *notes,
            "It contains all keys: keep it private, on another machine.",
            f"Restore it there with {suggested('restore', target.name, '--data', 'DIR')}.",
        )
    )
    context.terminal.result({"file": str(target), "bytes": size, **summary}, text)


@command(
    "restore",
    "create a data folder from a backup",
    argument("file", metavar="FILE", help="a file of `predictd backup`"),
    local=True,
    examples=["predictd restore predictd-20270131T020000Z.tar --data /srv/predictd"],
    group=Group.GATEWAY,
)
def restore(context: Context) -> None:
    """Creates a data folder from a backup."""
    import trio

    from builder import BuilderError
    from gateway.control.backup.archive import ArchiveDamaged
    from gateway.control.backup.restore import restore
    from gateway.control.backup.restore_folder import RestoreRefused
    from store import StoreError

    file = Path(context.arguments.file).absolute()
    try:
        with context.terminal.spinner(f"reading {file.name}"):
            restored = trio.run(restore, file, context.data)
    except RestoreRefused as error:
        raise CommandFailed(str(error), error.advice, Exit.REFUSED) from error
    except ArchiveDamaged as error:
        advice = "use another backup; nothing was changed"
        raise CommandFailed(str(error), advice, Exit.FAILED) from error
    except (StoreError, BuilderError) as error:
        raise CommandFailed(str(error), "nothing was changed", Exit.FAILED) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename not in (None, str(file)) else ""
        message = f"cannot restore {file}: {where}{error.strerror}"
        raise CommandFailed(message, "correct that; nothing was left there", Exit.FAILED) from error
    import msgspec

    rows = [
        (f"{each.project}/{each.model}", each.build, each.needs_rebuild or "restored")
        for each in restored.served
    ]
    serving = table(("MODEL", "BUILD", "ENVIRONMENT"), rows) if rows else "Nothing was deployed."
    rebuilds = any(each.needs_rebuild for each in restored.served)
    builds = f"{plural(restored.put_back, 'build')} restored, {restored.to_rebuild} to be rebuilt"
    records = f"{plural(restored.projects, 'project')}, {plural(restored.models, 'model')}"
    lines = [
        *(["Removed the rest of an unfinished restore."] * restored.unfinished),
        f"{restored.data}: {records}, {builds}.",
        *(f"Missing here: {path}, the folder of a project." for path in restored.unlinked),
        *(f"Not in the backup: {what}" for what in restored.left_out),
        serving,
        *(["The gateway rebuilds models with a reason when it starts."] if rebuilds else []),
        f"Start it with {suggested('serve', '--data', restored.data)}.",
    ]
    context.terminal.result(msgspec.to_builtins(restored), "\n".join(lines))


def _target(given: Path) -> Path:
    if given.is_dir():
        return given / f"predictd-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"
    if given.exists():
        advice = "name a new file, or a folder"
        raise CommandFailed(f"file {given} already exists", advice, Exit.USAGE)
    return given


def _fetch(context: Context, part: Path) -> None:
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file, context.terminal.spinner("downloading") as spinner:
        received = 0
        for block in context.client.blocks("/backup"):
            file.write(block)
            received += len(block)
            spinner.label = f"downloading, {mib(received, 0)}"
        file.flush()
        os.fsync(descriptor)


def _verify(context: Context, part: Path) -> Json:
    """Reads the file back. Raises CommandFailed unless it is complete."""
    from gateway.control.backup.archive import ArchiveDamaged, read_archive

    try:
        with context.terminal.spinner("verifying"):
            outline = read_archive(part)
    except ArchiveDamaged as error:
        advice = "try again, and look into the gateway's log; the file was deleted"
        raise CommandFailed(f"backup is incomplete: {error}", advice, Exit.FAILED) from error
    return {"entries": outline.entries, "left_out": outline.left_out}

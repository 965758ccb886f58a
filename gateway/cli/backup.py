"""The verbs that keep the data folder safe and small: backup, restore, gc."""

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.models import confirm_or_exit
from gateway.cli.terminal import Terminal, table
from gateway.client import Json

MIB = 1 << 20


def backup(context: Context) -> None:
    """Fetches a backup from the gateway, writes it down and reads it back."""
    from builder import sync_folder

    target = _target(Path(context.arguments.file).absolute())
    part = target.with_name(f"{target.name}.part")
    try:
        try:
            _fetch(context, part)
            told = _verify(context, part)
            os.rename(part, target)
            sync_folder(target.parent)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    except OSError as error:
        message = f"{target} cannot be written: {error.strerror}."
        raise CommandFailed(message, "Name a file elsewhere.", Exit.FAILED) from error
    size = target.stat().st_size
    notes = [f"Not in it: {printed}" for printed in told["left_out"]]
    text = "\n".join(
        (
            f"{target}: {size / MIB:,.1f} MiB, {told['entries']:,} entries, read back and whole.",
            *notes,
            "It holds all keys: keep it where only you can read it, and on another machine.",
            f"Next, on that machine: predictd restore {target.name} --data DIR",
        )
    )
    context.terminal.result({"file": str(target), "bytes": size, **told}, text)


def restore(context: Context) -> None:
    """Makes a data folder from a backup."""
    import trio

    from builder import BuilderError
    from gateway.control.backup.archive import ArchiveDamaged
    from gateway.control.backup.restore import restore
    from gateway.control.backup.restore_folder import RestoreRefused
    from store import StoreError

    file = Path(context.arguments.file).absolute()
    try:
        with context.terminal.live(f"reading {file.name}"):
            restored = trio.run(restore, file, context.data)
    except RestoreRefused as error:
        raise CommandFailed(f"{error}.", error.advice, Exit.REFUSED) from error
    except ArchiveDamaged as error:
        advice = "Nothing was changed. Take another backup."
        raise CommandFailed(f"{error}.", advice, Exit.FAILED) from error
    except (StoreError, BuilderError) as error:
        raise CommandFailed(f"{error}.", "Nothing was changed.", Exit.FAILED) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message = f"It cannot be restored: {where}{error.strerror}."
        raise CommandFailed(message, "Nothing was left there; mend it.", Exit.FAILED) from error
    import msgspec

    rows = [
        (f"{each.project}/{each.model}", each.build, each.needs_rebuild or "as it was")
        for each in restored.served
    ]
    serving = table(("MODEL", "BUILD", "ENVIRONMENT"), rows) if rows else "Nothing was deployed."
    anew = any(each.needs_rebuild for each in restored.served)
    builds = f"{restored.put_back} builds as they were, {restored.anew} to be made anew"
    lines = [
        *(["An unfinished restore was there, and was removed first."] * restored.unfinished),
        f"{restored.data}: {restored.projects} projects, {restored.models} models, {builds}.",
        *(f"There is no {path} here, which a project uses." for path in restored.unlinked),
        *(f"Not in the backup: {what}" for what in restored.left_out),
        serving,
        *(["With a reason: built again from its snapshot once you start."] if anew else []),
        f"Next: predictd serve --data {restored.data}",
    ]
    context.terminal.result(msgspec.to_builtins(restored), "\n".join(lines))


def gc(context: Context) -> None:
    """Removes what nobody needs, or shows what that would be."""
    query = f"?keep={context.arguments.keep}" if context.arguments.keep else ""
    with context.terminal.live("looking for what nobody needs"):
        found = context.client.get(f"/garbage{query}")
    if context.arguments.dry_run or not found["garbage"]:
        advice = "Nothing was removed. Remove it with `predictd gc`."
        _show(context.terminal, found, advice if found["garbage"] else "Look with `predictd ls`.")
        return
    if not context.terminal.as_json:
        context.terminal.say(_listed(found))
    confirm_or_exit(context, f"Remove these {len(found['garbage'])} for good?")
    with context.terminal.live("removing"):
        gone = context.client.delete(f"/garbage{query}")
    _show(context.terminal, gone, "All of that is removed. See what is left with `predictd ls`.")


def _show(terminal: Terminal, found: Json, advice: str) -> None:
    terminal.result(found, f"{_listed(found)}\n{advice}")


def _listed(found: Json) -> str:
    garbage = found["garbage"]
    if not garbage:
        return "There is nothing that nobody needs."
    rows = [
        (
            each["kind"],
            f"{each['model']} build {each['number']}" if each["model"] else each["name"],
            f"{each['bytes'] / MIB:,.1f} MiB",
        )
        for each in garbage
    ]
    total = sum(each["bytes"] for each in garbage)
    return f"{table(('KIND', 'WHAT', 'SIZE'), rows)}\n{len(garbage)} things, {total / MIB:,.1f} MiB"


def _target(given: Path) -> Path:
    if given.is_dir():
        return given / f"predictd-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"
    if given.exists():
        advice = "Name a file that is not there, or a folder."
        raise CommandFailed(f"{given} is there already.", advice, Exit.USAGE)
    return given


def _fetch(context: Context, part: Path) -> None:
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file, context.terminal.live("fetching") as live:
        received = 0
        for block in context.client.blocks("/backup"):
            file.write(block)
            received += len(block)
            live.label = f"fetching, {received / MIB:,.0f} MiB"
        file.flush()
        os.fsync(descriptor)


def _verify(context: Context, part: Path) -> Json:
    """Reads it back from the file. Raises CommandFailed unless it is whole."""
    from gateway.control.backup.archive import ArchiveDamaged, read_archive

    try:
        with context.terminal.live("reading it back"):
            outline = read_archive(part)
    except ArchiveDamaged as error:
        advice = "Nothing was kept. Try again; the gateway's log may say more."
        raise CommandFailed(f"The backup is not whole: {error}.", advice, Exit.FAILED) from error
    return {"entries": outline.entries, "left_out": outline.left_out}

"""Checks that a data folder has its database and its keys, or no data yet.

A start makes a database and keys only in a folder without data. Elsewhere a missing database was
lost: with an empty one, no file in the folder would belong to a project. With a new key all access
keys would change, or nothing that is encrypted could be read. Such a start is refused before
anything is changed, and the error says how to continue.

The keys are made before the database, so a folder with a database has keys.
"""

from pathlib import Path

from gateway.control.backup.restore_folder import is_unfinished
from gateway.data_folder import DataFolder
from gateway.identity.secret_file import SecretUnreadable, make_secret, read_secret
from gateway.suggested_command import suggested
from store import DataFolderUnusable

# What is lost with a key.
_LOST = {
    "admin.key": "the present admin key is not valid any more",
    "secret.key": "all access keys change, and variables and secrets have to be set again",
}
_RESTORE = "restore a backup into a new folder with `predictd restore FILE --data DIR`"


def open_data(data: DataFolder) -> str:
    """The content of `secret.key`. The first start makes it and `admin.key`. Blocking; the folder
    has to be locked. Raises DataFolderUnusable, OSError."""
    if is_unfinished(data):
        raise DataFolderUnusable(
            data.root,
            "a restore into it was interrupted: repeat it with "
            f"{suggested('restore FILE --data', data.root)}, which starts with an empty folder",
        )
    if _has_bytes(data.database):
        # A restore that was killed in its last step left this file.
        data.restoring.unlink(missing_ok=True)
    else:
        _refuse_data_without_database(data)
        for path in (data.secret_key, data.admin_key):
            if not _secret_in(path):
                make_secret(path)
    for path in (data.secret_key, data.admin_key):
        if not _secret_in(path):
            state = "is empty" if path.exists() else "is missing"
            raise DataFolderUnusable(data.root, f"{path.name} {state}. {_advice(path)}")
    return _secret_in(data.secret_key)


def _secret_in(path: Path) -> str:
    try:
        return read_secret(path)
    except SecretUnreadable as error:
        raise DataFolderUnusable(path.parent, f"{error}. {_advice(path)}") from error


def _advice(path: Path) -> str:
    make = f"(umask 077; head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \\n' > {path})"
    return (
        f"Put it back from a copy, or {_RESTORE}. To continue with a new one, which means that "
        f"{_LOST[path.name]}, make it: `{make}`"
    )


def _refuse_data_without_database(data: DataFolder) -> None:
    found = _data_in(data)
    if not found:
        return
    state = "is empty" if data.database.exists() else "is missing"
    raise DataFolderUnusable(
        data.root,
        f"its database {data.database.name} {state}, but there is data ({', '.join(found)}). "
        f"Nothing was changed. Put the database back, or {_RESTORE}. To start without the data, "
        f"move the folder away first: `mv {data.root} {data.root}.old`",
    )


def _data_in(data: DataFolder) -> list[str]:
    """The data of an earlier gateway besides its database and keys."""
    folders = [*data.entity_folders, data.builds, data.environments]
    found = [each for each in folders if each.is_dir() and any(each.iterdir())]
    # The last commits may be in the log only, and SQLite would remove it.
    log = data.database.with_name(f"{data.database.name}-wal")
    found += [each for each in (log, data.generation) if _has_bytes(each)]
    return [str(each.relative_to(data.root)) for each in found]


def _has_bytes(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0

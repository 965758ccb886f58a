"""The kinds that a backup may have at each path: one table, for writing and for reading.

Links are legal only among the files of a project, their copy in a build, and environments. In the
last two, files may be the same as shared ones.
No file or folder of predictd itself is a link. A snapshot store has only what git wrote there for
predictd: no hooks, no other stores, and no setting except its format.
"""

import re

from gateway.control.backup.archive_members import ArchiveMember
from gateway.data_folder import DataFolder

DATABASE = "predictd.db"
# Without the second, models would get other access keys, and variables could not be decrypted.
SECRETS = ("admin.key", "secret.key")
SECRET_BYTES = 4096

_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_STORE = rf"snapshots/{_ID}\.git"
_FILE, _FOLDER, _PLAIN = {"file"}, {"folder"}, {"file", "folder"}
_ANY = {"file", "folder", "link"}
_SEALED = {*_ANY, "same"}
# The first pattern that matches a name decides; a name without a match is refused.
_LAYOUT = [
    (re.compile(pattern, re.DOTALL), kinds)
    for pattern, kinds in (
        (r"predictd\.db|admin\.key|secret\.key", _FILE),
        (rf"{_STORE}(?:/objects|/refs|/reftable)?", _FOLDER),
        (rf"{_STORE}/(?:HEAD|config|packed-refs|predictd\.lock)", _FILE),
        (rf"{_STORE}/objects/info/(?:http-)?alternates", set[str]()),
        (rf"{_STORE}/(?:objects|refs|reftable)/.+", _PLAIN),
        (rf"projects/{_ID}", _FOLDER),
        (rf"projects/{_ID}/.+", _ANY),
        (rf"uploads/{_ID}", _FILE),
        (rf"builds/{_ID}(?:/code|/environment)?", _FOLDER),
        (rf"builds/{_ID}/(?:code|environment)/.+", _SEALED),
        (rf"builds/{_ID}/sealed", _FILE),
        (rf"builds/{_ID}/.+", _PLAIN),
        (rf"environments/{_ID}(?:/environment|/files)?", _FOLDER),
        (rf"environments/{_ID}/(?:environment|files)/.+", _SEALED),
        (rf"environments/{_ID}/sealed", _FILE),
        (rf"environments/{_ID}/.+", _PLAIN),
        (r"shared/[0-9]{1,9}", _FILE),
        (rf"logs/(?:builds|experiments)/{_ID}\.log(?:\.1)?", _FILE),
        (rf"experiments/{_ID}/outputs", _FOLDER),
        (rf"experiments/{_ID}/outputs/.+", _PLAIN),
    )
]
_STORE_CONFIG = re.compile(rf"{_STORE}/config")
STORE_CONFIG_BYTES = 4096
_STORE_SETTINGS = re.compile(
    rb"(?:\s*(?:\[(?:core|extensions)\]|(?:repositoryformatversion|filemode|bare|ignorecase"
    rb"|precomposeunicode|symlinks|logallrefupdates|objectformat|refstorage)"
    rb" = [a-z0-9]{1,20}))*\s*",
    re.IGNORECASE,
)


def kinds_at(name: str) -> set[str]:
    """The kinds that a member of this name may have."""
    return next((kinds for pattern, kinds in _LAYOUT if pattern.fullmatch(name)), set())


def check_place(entry: ArchiveMember) -> None:
    """Raises ValueError for a member that does not fit the layout."""
    if entry.kind not in kinds_at(entry.name):
        raise ValueError(f"{entry.name} is a {entry.kind}, and in a backup there is none there")


def is_id(text: str) -> bool:
    """Whether a text is an id, and so the name of one folder."""
    return re.fullmatch(_ID, text) is not None


def is_store_config(name: str) -> bool:
    """Whether it is the configuration of a snapshot store, which git obeys."""
    return _STORE_CONFIG.fullmatch(name) is not None


def check_store_config(name: str, text: bytes) -> None:
    """Raises ValueError if the configuration has more than the format of the store."""
    if not _STORE_SETTINGS.fullmatch(text):
        raise ValueError(f"{name} has settings that predictd does not make")


def check_project_path(data: DataFolder, project_id: str, path: str, *, linked: bool) -> None:
    """Raises ValueError if a project that is not linked has its files outside the data folder: they
    are deleted with the project."""
    if not linked and path != str(data.projects / project_id):
        raise ValueError(f"project {project_id} is said to be ours and to lie at {path}")

"""What may lie where in a backup: one table, which the writing and the reading of it both keep.

Links are legal only within what a project brought along: its files, the copy of them in a build,
and a build's environment. Nothing of our own layout is a link, and of a store of snapshots there
is only what git wrote there for us: no hooks, no other stores, and of its settings its format.
"""

import re

from gateway.control.backup.archive import ArchiveMember
from gateway.data_folder import DataFolder

DATABASE = "predictd.db"
# Without the second the access keys of models would be others, and variables could not be read.
SECRETS = ("admin.key", "secret.key")
SECRET_BYTES = 4096

_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_STORE = rf"snapshots/{_ID}\.git"
_FILE, _FOLDER, _PLAIN = {"file"}, {"folder"}, {"file", "folder"}
_ANY = {"file", "folder", "link"}
# The first line that fits a name decides; what none fits is refused.
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
        (rf"builds/{_ID}(?:/code|/environment)?", _FOLDER),
        (rf"builds/{_ID}/(?:code|environment)/.+", _ANY),
        (rf"builds/{_ID}/sealed", _FILE),
        (rf"builds/{_ID}/.+", _PLAIN),
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
    """What an entry of this name may be."""
    return next((kinds for pattern, kinds in _LAYOUT if pattern.fullmatch(name)), set())


def check_place(entry: ArchiveMember) -> None:
    """Raises ValueError for an entry that is not of the layout."""
    if entry.kind not in kinds_at(entry.name):
        raise ValueError(f"{entry.name} is a {entry.kind}, and in a backup there is none there")


def is_store_config(name: str) -> bool:
    """Whether it is the settings of a store of snapshots, which git obeys."""
    return _STORE_CONFIG.fullmatch(name) is not None


def check_store_config(name: str, text: bytes) -> None:
    """Raises ValueError where they say more than in which format the store is."""
    if not _STORE_SETTINGS.fullmatch(text):
        raise ValueError(f"{name} has settings that predictd does not make")


def check_project_path(data: DataFolder, project_id: str, path: str, *, linked: bool) -> None:
    """Raises ValueError where the files of a project that is ours are said to lie elsewhere: they
    are removed with it."""
    if not linked and path != str(data.projects / project_id):
        raise ValueError(f"project {project_id} is said to be ours and to lie at {path}")

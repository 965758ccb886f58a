"""Decides whether an environment that was made before is the one that a build needs.

Two tests, both pure. The *key* has what an environment is looked up by: interpreter, script,
variables, and the names of all project files. What the script then *read* of those files is known
only after it has run. So environments of one key differ by their reads, and one is right for a new
snapshot whose files have the contents that its script read.

    a script finds out about a project by   and it is
    ------------------------------------    --------------------------------------------
    names, kinds, permissions, emptiness    in the key, for all paths
    the targets of links                    in the key, for all links
    the content of a file                   among the reads (access_times.py), else ignored
    the size or time of an unread file      ignored: nothing but `make` and `ls -l` cares

Where reads are not seen exactly, the whole tree counts: it has to be equal.
"""

import hashlib
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

import msgspec
from msgspec import Struct

# Of a script with more reads, the whole tree counts.
MOST_READS = 20_000
EMPTY = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
_FOLDER, _LINK = "040000", "120000"


class TreeEntry(NamedTuple):
    """A file, folder or link of a snapshot: as git names it, and its path."""

    mode: str
    name: str
    path: bytes


class KeyParts(Struct, frozen=True, kw_only=True):
    """What an environment is looked up by, but for the project's files.

    `interpreter` has the path and the version. `variables` is a keyed hash of those that users have
    set. `lock` is one that is obeyed. `script` is the path, or the text of one that was derived; ""
    where nothing is run.
    """

    project: str
    interpreter: Sequence[str]
    script: str
    network: str
    variables: str
    lock: str = ""


class Reads(Struct, frozen=True, kw_only=True):
    """What a script has read: the content of files by path, or of the whole `tree`."""

    files: dict[str, str] | None
    tree: str


def key_of(parts: KeyParts, tree: Sequence[TreeEntry]) -> str:
    """Return the key of an environment. Without a script, no file of the project counts."""
    lines = [] if not parts.script else sorted(map(_line, tree))
    digest = hashlib.sha256(msgspec.json.encode(parts))
    for line in lines:
        digest.update(line)
    return digest.hexdigest()


def _line(entry: TreeEntry) -> bytes:
    what = entry.mode
    if entry.mode == _LINK:
        what = entry.name
    elif entry.mode != _FOLDER and entry.name == EMPTY:
        what += " empty"
    return b"%s %d %s\n" % (what.encode(), len(entry.path), entry.path)


def reads_of(read: Set[bytes] | None, tree: Sequence[TreeEntry], tree_name: str) -> Reads:
    """Return what has to be equal the next time. `read` are paths; None if they are not known."""
    if read is None or len(read) > MOST_READS:
        return Reads(files=None, tree=tree_name)
    files = {text_of(each.path): each.name for each in tree if each.path in read}
    return Reads(files=files, tree=tree_name)


def is_same(reads: Reads, names: Mapping[str, str], tree_name: str) -> bool:
    """Whether a snapshot has all that was read. `names` are git's names of its files, by path."""
    if reads.files is None:
        return reads.tree == tree_name
    return all(names.get(path) == name for path, name in reads.files.items())


def names_in(tree: Sequence[TreeEntry]) -> dict[str, str]:
    """Return git's names of all entries of a snapshot, by path."""
    return {text_of(each.path): each.name for each in tree}


def text_of(path: bytes) -> str:
    """Return a path as text, one character a byte: paths need not be UTF-8."""
    return path.decode("latin-1")


def path_of(text: str) -> bytes:
    """The inverse of `text_of`."""
    return text.encode("latin-1")

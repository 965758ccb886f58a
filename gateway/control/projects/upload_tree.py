"""What a project's folder has of a manifest, and the folder that replaces it.

The new folder is made beside the old one, of hard links to files that stay and of the contents that
were sent, and takes its place at one instant. So a project never has half of an upload, however
the gateway ends. Files that no upload put there are taken over unless the manifest has their path.

Nothing beneath the project's folder is opened by its path. All of it blocks.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import trio

from builder import Folder, NotAFile, TooDeep, check_depth
from gateway.control.projects.upload_record import RecordedEntry
from gateway.control.projects.upload_sources import CurrentFiles, link_or_copy
from gateway.errors import Refusal
from gateway.upload_manifest import Kind, ManifestEntry

_MODES: dict[str, int] = {"file": 0o644, "executable": 0o755}
_NAMED = 5
_PIECE = 1 << 20


class CurrentEntry(NamedTuple):
    """An entry of the project's folder. `sha256` is empty where it was not needed. `uploaded`: the
    last upload put it there, and it is unchanged."""

    path: str
    kind: Kind | None  # None for a pipe and the like
    sha256: str
    target: str
    uploaded: bool


class Difference(NamedTuple):
    """A manifest beside a project. `missing` are the numbers of the manifest's lines whose content
    the project does not have; of equal contents the first."""

    missing: list[int]
    unchanged: bool


Record = dict[str, list[RecordedEntry]]


class CurrentTree:
    """The folder of a project, looked at once."""

    def __init__(self, root: Path, manifest: Sequence[ManifestEntry], record: Record) -> None:
        """Looks at the folder. Raises Refusal."""
        self._root = root
        self._manifest = manifest
        self._wanted = {entry.path: entry for entry in manifest}
        self._record = record
        self.found: dict[str, CurrentEntry] = {}
        self._sources: dict[str, str] = {}  # the path of a file with this content
        for each in self._walk():
            self.found[each.path] = each
            if each.sha256:
                self._sources.setdefault(each.sha256, each.path)
        self._refuse_conflicts()

    def compare(self) -> Difference:
        missing, seen = [], set[str]()
        for number, entry in enumerate(self._manifest):
            known = entry.sha256 in self._sources or entry.sha256 in seen
            if entry.is_file and not known:
                missing.append(number)
                seen.add(entry.sha256)
        same = all(self._has(entry) for entry in self._manifest)
        recorded = self._record.keys() == self._wanted.keys()
        gone = any(each.uploaded and each.path not in self._wanted for each in self.found.values())
        return Difference(missing, same and recorded and not gone)

    def replaced(self) -> list[str]:
        """Files of the manifest that others have put into the project, with other content."""
        both = ((each, self._wanted.get(each.path)) for each in self.found.values())
        return [
            each.path
            for each, entry in both
            if entry and each.kind != "folder" and not each.uploaded and not self._has(entry)
        ]

    def build(self, target: Path, contents: Path) -> list[RecordedEntry]:
        """Makes the new folder; returns its record. Raises Refusal where content is missing."""
        target.mkdir()
        target.chmod(stat.S_IMODE(self._root.stat().st_mode))
        # A folder sorts before what is in it, by names.
        kept = [each for each in self.found.values() if self._stays(each)]
        folders = {each.path for each in kept if each.kind == "folder"}
        folders |= {entry.path for entry in self._manifest if entry.kind == "folder"}
        # A kept file may be in a folder that an earlier upload made.
        folders |= {above for each in kept for above in _above(each.path)}
        for path in sorted(folders, key=lambda path: path.split("/")):
            (target / path).mkdir()
        # The first file of each content and mode; others are links to it, so that many paths of one
        # content take its space once.
        placed: dict[tuple[str, int], Path] = {}
        with CurrentFiles(self._root) as source:
            for each in kept:
                if each.kind != "folder":
                    source.link(each.path, target / each.path)
            return [
                self._place(entry, target, contents, source, placed) for entry in self._manifest
            ]

    def _place(
        self,
        entry: ManifestEntry,
        target: Path,
        contents: Path,
        source: CurrentFiles,
        placed: dict[tuple[str, int], Path],
    ) -> RecordedEntry:
        trio.from_thread.check_cancelled()
        path = target / entry.path
        if entry.kind == "link":
            path.symlink_to(entry.target)
        elif entry.is_file:
            mode, sent = _MODES[entry.kind], contents / entry.sha256
            first = placed.setdefault((entry.sha256, mode), path)
            if first is not path:
                link_or_copy(first, path, mode)
            elif sent.exists():
                link_or_copy(sent, path, mode)
            elif (known := self._sources.get(entry.sha256)) is not None:
                source.take(known, path, mode)
            else:
                raise Refusal("state.conflict", f"the content of {entry.path!r} was not sent")
        facts = path.lstat()
        return RecordedEntry(
            *(entry.path, entry.kind, facts.st_size if entry.is_file else 0, entry.sha256),
            *(entry.target, facts.st_ino, facts.st_mtime_ns),
        )

    def _has(self, entry: ManifestEntry) -> bool:
        found = self.found.get(entry.path)
        return found is not None and (found.kind, found.sha256, found.target) == (
            *(entry.kind, entry.sha256, entry.target),
        )

    def _stays(self, each: CurrentEntry) -> bool:
        return each.path not in self._wanted and not each.uploaded

    def _refuse_conflicts(self) -> None:
        """What stays needs folders above it, and the manifest may have a file there."""
        blocked = []
        for each in filter(self._stays, self.found.values()):
            above = (self._wanted.get(path) for path in _above(each.path))
            blocked += [each.path for entry in above if entry and entry.kind != "folder"]
        if blocked:
            named = ", ".join(repr(path) for path in blocked[:_NAMED])
            text = f"files of the project that no upload put there are in the way: {named}"
            raise Refusal("path.refused", text)

    def _walk(self) -> Iterator[CurrentEntry]:
        ahead = [""]
        with Folder.root(self._root) as top:
            while ahead:
                here = ahead.pop()
                trio.from_thread.check_cancelled()
                try:
                    check_depth(here)
                except TooDeep as error:
                    raise Refusal("path.refused", str(error.strerror)) from None
                with top.folder(here.split("/") if here else []) as folder:
                    for entry in folder.entries():
                        path = f"{here}/{entry.name}" if here else entry.name
                        found = self._look(folder, entry, path)
                        if found.kind == "folder":
                            ahead.append(path)
                        yield found

    def _look(self, folder: Folder, entry: "os.DirEntry[str]", path: str) -> CurrentEntry:
        facts = entry.stat(follow_symlinks=False)
        kind = _kind(facts.st_mode)
        recorded = [each for each in self._record.get(path, ()) if _is_alike(each.kind, kind)]
        target = folder.target(entry.name) if kind == "link" else ""
        sha256 = ""
        if kind in _MODES:
            sha256 = next((each.sha256 for each in recorded if each.is_same_file(facts)), "")
            wanted = self._wanted.get(path)
            sizes = {each.size for each in recorded} | ({wanted.size} if wanted else set())
            if not sha256 and facts.st_size in sizes:
                sha256 = _hash(folder, entry.name)
        uploaded = any((each.sha256, each.target) == (sha256, target) for each in recorded)
        return CurrentEntry(path, kind, sha256, target, uploaded)


def _hash(folder: Folder, name: str) -> str:
    try:
        with folder.open(name) as file:
            found = hashlib.sha256()
            while piece := file.read(_PIECE):
                trio.from_thread.check_cancelled()
                found.update(piece)
    except (FileNotFoundError, NotAFile):
        return ""
    return found.hexdigest()


def _above(path: str) -> Iterable[str]:
    names = path.split("/")
    return ("/".join(names[:count]) for count in range(1, len(names)))


def _kind(mode: int) -> Kind | None:
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISREG(mode):
        return "executable" if mode & stat.S_IXUSR else "file"
    return None


def _is_alike(one: Kind, other: Kind | None) -> bool:
    """Whether a file may be the recorded one: the executable bit may have changed."""
    return one == other or (one in _MODES and other in _MODES)

"""The members of an archive: its head, its end, and the line and tar header of each other one."""

import json
import tarfile

import msgspec

FORMAT = 2
# The first format had no shared files.
READABLE = (1, FORMAT)
HEAD, CONTENTS, END = "predictd-backup.json", "contents.jsonl", "end.json"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first member: what was backed up, where, and by which version of predictd."""

    format: int = FORMAT
    created_at: str
    predictd: str
    root: str
    machine: str


class End(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last member: the digest of the contents, or why the backup was abandoned."""

    failed: str = ""
    contents: str = ""
    left_out: list[str] = []


class ArchiveMember(msgspec.Struct, frozen=True):
    """A line of the contents. `kind` is file, folder, link or same; `fact` is a digest, a target,
    or the shared file that it is the same as."""

    name: str
    kind: str
    mode: int
    size: int
    fact: str

    @property
    def line(self) -> bytes:
        # `json` escapes bytes of a name that are not Unicode; msgspec refuses them.
        return json.dumps(msgspec.structs.astuple(self)).encode() + b"\n"


def header_of(entry: ArchiveMember, modified: int = 0) -> tarfile.TarInfo:
    """The tar header of a member."""
    info = tarfile.TarInfo(entry.name)
    info.mode, info.size, info.mtime = entry.mode, entry.size, modified
    if entry.kind == "folder":
        info.type = tarfile.DIRTYPE
    elif entry.kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, entry.fact
    elif entry.kind == "same":
        info.type, info.linkname = tarfile.LNKTYPE, entry.fact
    return info

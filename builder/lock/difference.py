"""What differs between two locks: packages that were added, removed or changed."""

from typing import Literal

from msgspec import Struct

from builder.environment.r.packages import RPackage
from builder.interpreters import Language
from builder.lock.pylock import Lock, LockedFile, Package

Kind = Literal["added", "removed", "version", "source", "files"]


class Change(Struct, frozen=True, kw_only=True):
    """One package that differs. `before` and `after` are versions, or sources where those differ;
    "" where the package is not there. `files`: a file of an equal name has other bytes."""

    name: str
    kind: Kind
    before: str
    after: str
    language: Language = "python"


def compare(before: Lock, after: Lock) -> list[Change]:
    """Return the packages that differ, sorted by name, those of R last."""
    old = {each.name: each for each in before.packages}
    new = {each.name: each for each in after.packages}
    changes = (_change(old.get(name), new.get(name)) for name in sorted({*old, *new}))
    return [each for each in changes if each is not None] + _changes_of_r(before, after)


def _changes_of_r(before: Lock, after: Lock) -> list[Change]:
    old = {each.name: each for each in before.r_packages}
    new = {each.name: each for each in after.r_packages}
    found = (_change_of_r(name, old.get(name), new.get(name)) for name in sorted({*old, *new}))
    return [each for each in found if each is not None]


def _change_of_r(name: str, old: RPackage | None, new: RPackage | None) -> Change | None:
    before, after = (each.version if each else "" for each in (old, new))
    kind: Kind = "version" if before and after else "removed" if before else "added"
    if old and new and before == after:
        kind, before, after = "source", old.source, new.source
    if before == after:
        return None
    return Change(name=name, kind=kind, before=before, after=after, language="r")


def _change(old: Package | None, new: Package | None) -> Change | None:
    if old is None or new is None:
        present = old or new
        assert present is not None
        return Change(
            name=present.name,
            kind="added" if old is None else "removed",
            before=old.version if old else "",
            after=new.version if new else "",
        )
    if old.version != new.version:
        return _changed("version", old, old.version, new.version)
    if old.source != new.source and not (old.is_unhashed or new.is_unhashed):
        return _changed("source", old, old.source or "index", new.source or "index")
    if _has_other_bytes(old, new):
        return _changed("files", old, old.version, new.version)
    return None


def _changed(kind: Kind, package: Package, before: str, after: str) -> Change:
    return Change(name=package.name, kind=kind, before=before, after=after)


def _has_other_bytes(old: Package, new: Package) -> bool:
    """Whether a file of one name has other bytes. Other files of a version, such as the wheel for
    another processor, are no change."""
    known = {each.filename: each.hashes for each in _files(old)}
    return any(_conflict(known.get(each.filename, {}), each.hashes) for each in _files(new))


def _files(package: Package) -> list[LockedFile]:
    single = [each for each in (package.archive, package.sdist) if each is not None]
    return [*single, *package.wheels]


def _conflict(old: dict[str, str], new: dict[str, str]) -> bool:
    return any(digest != new.get(kind, digest) for kind, digest in old.items())

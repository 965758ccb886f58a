"""What a start could not read, move or remove, and went on without.

Law: recovery treats each thing by itself, so that one damaged file of one project never ends a
start. What cannot be read is kept, never deleted: where something else has to take its place it is
moved to the folder `set-aside` of the data folder, else it stays where it is. In both cases it is
recorded here. The log, `predictd status` and `predictd doctor` name it and say what to do.

Only predictd.db, secret.key, admin.key and lock refuse a start: without them nothing is right.
"""

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from builder import read_plain, remove_tree
from gateway.data_folder import DataFolder
from store import StoreFailed

logger = logging.getLogger(__name__)

# Of the record, in bytes; and how many problems are told one by one.
_RECORD_BYTES = 1 << 20
_MOST = 200

REMOVE = "Nothing needs it: remove it by hand, `lsattr` and `mount` may say what holds it."
AGAIN = "It is made again when it is needed. Remove this copy once you have looked at it."
LOOK = "Look at it, keep what you need of it, then remove it."
MEND = "Mend or move it away, then restart predictd."


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a start went on without: what it is, where it lies now, what is wrong, and
    what to do. `moved`: it was moved there from where it was."""

    what: str
    path: str
    problem: str
    advice: str
    moved: bool = False


class SetAside:
    """Collects them; every step of recovery is given this. For one thread at a time."""

    def __init__(self, data: DataFolder) -> None:
        self._data = data
        self._problems: list[Problem] = []
        self._left_out = 0

    @property
    def problems(self) -> list[Problem]:
        """Those of this start, and what earlier ones moved aside and is still there."""
        return list(self._problems)

    @property
    def left_out(self) -> int:
        """How many more there are, which only the log names."""
        return self._left_out

    def note(self, what: str, path: Path, problem: object, advice: str = MEND) -> None:
        """Records something that stays where it is."""
        self._add(Problem(what=what, path=str(path), problem=_told(problem), advice=advice))

    @contextmanager
    def item(self, what: str, path: Path, advice: str = MEND) -> Iterator[None]:
        """The recovery of one thing. What the block raises is recorded and ends nothing else,
        unless the database failed, without which nothing can be recovered."""
        try:
            yield
        except StoreFailed:
            raise
        except OSError as error:
            self.note(what, path, error, advice)
        except Exception as error:
            logger.exception("the recovery of %s", what)
            self.note(what, path, f"{type(error).__name__}: {error}", advice)

    def move(self, what: str, path: Path, problem: object, advice: str = LOOK) -> bool:
        """Moves something out of the way, and records it. Whether it could be moved: what cannot
        be, such as an immutable file, is recorded where it is. Blocking."""
        try:
            place = self._place_for(path)
            path.rename(place)
        except OSError as error:
            self.note(what, path, f"{_told(problem)}; it cannot be moved: {_told(error)}")
            return False
        told = Problem(
            what=what, path=str(place), problem=_told(problem), advice=advice, moved=True
        )
        self._add(told)
        return True

    def _place_for(self, path: Path) -> Path:
        folder = self._data.set_aside
        folder.mkdir(mode=0o700, exist_ok=True)
        name = "-".join(path.relative_to(self._data.root).parts)
        places = (folder / f"{name}{f'.{n}' if n else ''}" for n in range(10_000))
        return next(place for place in places if not os.path.lexists(place))

    def _add(self, problem: Problem) -> None:
        if problem in self._problems:
            return
        where = f"moved to {problem.path}" if problem.moved else problem.path
        told = (problem.what, where, problem.problem, problem.advice)
        logger.error("set aside: %s (%s): %s. %s", *told)
        if len(self._problems) < _MOST:
            self._problems.append(problem)
        else:
            self._left_out += 1

    # At the start and the end of recovery.

    def prepare(self) -> None:
        """Moves what is no folder, or no file, away from where one has to be. Blocking."""
        with self.item("the folder set-aside", self._data.set_aside):
            self._make_place()
        for path in self._data.folders:
            if os.path.lexists(path) and not path.is_dir():
                self.move(f"the folder {path.name}", path, "it is not a folder")
        self._remember()
        for path in self._data.files:
            if os.path.lexists(path) and (problem := _unfit(path)):
                self.move(f"the file {path.name}", path, problem)
        self._clear(self._data.confinement)

    def _make_place(self) -> None:
        """Moves what is in the place of the folder `set-aside` into that folder."""
        folder = self._data.set_aside
        if os.path.lexists(folder) and not folder.is_dir():
            folder.rename(between := folder.with_suffix(".moving"))
            self.move("the folder set-aside", between, "it is not a folder")

    def _clear(self, folder: Path) -> None:
        """Empties a folder by removing it, or, where something in it cannot be removed, moves it
        away as it is."""
        if folder.is_dir() and any(folder.iterdir()):
            try:
                remove_tree(folder)
            except OSError as error:
                self.move(f"the folder {folder.name}", folder, error, REMOVE)

    def note_leftovers(self, folder: Path) -> None:
        """Records what is left in a folder that was to be emptied. Blocking."""
        for path in sorted(folder.iterdir()):
            self.note("a leftover", path, "it cannot be removed", REMOVE)

    def _remember(self) -> None:
        """Goes on naming what earlier starts moved aside, while it is there."""
        known = {each.path: each for each in read_record(self._data) if each.moved}
        folder = self._data.set_aside
        with self.item("the folder set-aside", folder):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if str(path) not in {each.path for each in self._problems}:
                    self._add(known.get(str(path)) or _unknown(path))

    def save(self) -> None:
        """Writes the record for `predictd doctor`. Blocking. A disk that takes nothing costs the
        record only: the log and the gateway tell the same."""
        record = self._data.set_aside_record
        with self.item("the record of what was set aside", record):
            if not self._problems:
                record.unlink(missing_ok=True)
                return
            fresh = record.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(self._problems))
            fresh.replace(record)


def read_record(data: DataFolder) -> list[Problem]:
    """What the last start went on without. Blocking."""
    path = data.set_aside_record
    try:
        return msgspec.json.decode(read_plain(path, _RECORD_BYTES), type=list[Problem])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        what = "the record of what was set aside"
        advice = f"Look at what lies in {data.set_aside}."
        return [Problem(what=what, path=str(path), problem=_told(error), advice=advice)]


def _unknown(path: Path) -> Problem:
    problem = "an earlier start could not read it"
    return Problem(what="something", path=str(path), problem=problem, advice=LOOK, moved=True)


def _unfit(path: Path) -> str:
    """Why something cannot be used as a file of ours; "" where it can be."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return "it is not a file"
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            return "it cannot be read and written"
    except OSError as error:
        return _told(error)
    return ""


def _told(problem: object) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return str(problem)

"""Files that a start could not read, move or remove, and continued without.

Law: recovery handles each file separately, so one damaged file of one project never ends a start.
A file that cannot be read is never deleted. If another file needs its path, it is moved to the
folder `set-aside` of the data folder; otherwise it stays. Both cases are recorded here. The log,
`predictd status` and `predictd doctor` name the file and say what to do.

Only damage to predictd.db, secret.key, admin.key or lock refuses a start.
"""

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from builder import read_small_file, remove_tree
from gateway.data_folder import DataFolder
from store import StoreFailed

logger = logging.getLogger(__name__)

# The largest record in bytes, and the most problems that it lists.
_RECORD_BYTES = 1 << 20
_MOST = 200

REMOVE = "It is not needed: remove it by hand; `lsattr` and `mount` may show what prevents that."
AGAIN = "It is created again when it is needed. Inspect this copy, then remove it."
LOOK = "Inspect it, keep what you need of it, then remove it."
MEND = "Repair it or move it away, then restart predictd."


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a start continued without: what it is, its path now, what is wrong, and what to
    do. `moved`: `path` is in the folder `set-aside`."""

    what: str
    path: str
    problem: str
    advice: str
    moved: bool = False


class SetAside:
    """Collects the problems of a start; each step of recovery gets it. For one thread at a time."""

    def __init__(self, data: DataFolder) -> None:
        self._data = data
        self._problems: list[Problem] = []
        self._left_out = 0

    @property
    def problems(self) -> list[Problem]:
        """The problems of this start, and files of earlier starts that are still in `set-aside`."""
        return list(self._problems)

    @property
    def left_out(self) -> int:
        """The number of further problems, which only the log names."""
        return self._left_out

    def note(self, what: str, path: Path, problem: object, advice: str = MEND) -> None:
        """Records a problem with a file that stays where it is."""
        self._add(Problem(what=what, path=str(path), problem=_text_of(problem), advice=advice))

    @contextmanager
    def item(self, what: str, path: Path, advice: str = MEND) -> Iterator[None]:
        """Recovers one file in its block. An error of the block is recorded, and recovery goes to
        the next file. Only a failure of the database is raised: recovery needs the database."""
        try:
            yield
        except StoreFailed:
            raise
        except OSError as error:
            self.note(what, path, error, advice)
        except Exception as error:
            logger.exception("recovery.failed object=%r", what)
            self.note(what, path, f"{type(error).__name__}: {error}", advice)

    def move(self, what: str, path: Path, problem: object, advice: str = LOOK) -> bool:
        """Moves a file to `set-aside` and records it. Returns False if it cannot be moved, such as
        an immutable file, which is recorded where it is. Blocking."""
        try:
            target = self._target_for(path)
            path.rename(target)
        except OSError as error:
            self.note(what, path, f"{_text_of(problem)}; it cannot be moved: {_text_of(error)}")
            return False
        self._add(
            Problem(
                what=what, path=str(target), problem=_text_of(problem), advice=advice, moved=True
            )
        )
        return True

    def _target_for(self, path: Path) -> Path:
        folder = self._data.set_aside
        folder.mkdir(mode=0o700, exist_ok=True)
        name = "-".join(path.relative_to(self._data.root).parts)
        targets = (folder / f"{name}{f'.{n}' if n else ''}" for n in range(10_000))
        return next(target for target in targets if not os.path.lexists(target))

    def _add(self, problem: Problem) -> None:
        if problem in self._problems:
            return
        where = f"moved to {problem.path}" if problem.moved else problem.path
        text = f"{problem.problem}. {problem.advice}"
        logger.error("problem.set_aside object=%r path=%r: %s", problem.what, where, text)
        if len(self._problems) < _MOST:
            self._problems.append(problem)
        else:
            self._left_out += 1

    # At the start and the end of recovery.

    def prepare(self) -> None:
        """Moves away entries of the wrong kind, such as a file in place of a folder. Blocking."""
        with self.item("the folder set-aside", self._data.set_aside):
            self._make_set_aside()
        for path in self._data.folders:
            if os.path.lexists(path) and not path.is_dir():
                self.move(f"the folder {path.name}", path, "it is not a folder")
        self._record_moved()
        for path in self._data.files:
            if os.path.lexists(path) and (problem := _unusable(path)):
                self.move(f"the file {path.name}", path, problem)
        self._clear(self._data.confinement)

    def _make_set_aside(self) -> None:
        """Moves another entry with the name `set-aside` into a new folder of that name."""
        folder = self._data.set_aside
        if os.path.lexists(folder) and not folder.is_dir():
            folder.rename(between := folder.with_suffix(".moving"))
            self.move("the folder set-aside", between, "it is not a folder")

    def _clear(self, folder: Path) -> None:
        """Removes a folder, or moves it away if a part of it cannot be removed."""
        if folder.is_dir() and any(folder.iterdir()):
            try:
                remove_tree(folder)
            except OSError as error:
                self.move(f"the folder {folder.name}", folder, error, REMOVE)

    def note_leftovers(self, folder: Path) -> None:
        """Records the entries that could not be removed from a folder. Blocking."""
        for path in sorted(folder.iterdir()):
            self.note("a leftover", path, "it cannot be removed", REMOVE)

    def _record_moved(self) -> None:
        """Records again the files that earlier starts moved, as long as they exist."""
        known = {each.path: each for each in read_record(self._data) if each.moved}
        folder = self._data.set_aside
        with self.item("the folder set-aside", folder):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if str(path) not in {each.path for each in self._problems}:
                    self._add(known.get(str(path)) or _unknown(path))

    def save(self) -> None:
        """Writes the record for `predictd doctor`. Blocking. On a full disk only the record is
        missing: the log and the gateway show the same problems."""
        record = self._data.set_aside_record
        with self.item("the record of what was set aside", record):
            if not self._problems:
                record.unlink(missing_ok=True)
                return
            fresh = record.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(self._problems))
            fresh.replace(record)


def read_record(data: DataFolder) -> list[Problem]:
    """The problems of the last start. Blocking."""
    path = data.set_aside_record
    try:
        return msgspec.json.decode(read_small_file(path, _RECORD_BYTES), type=list[Problem])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        what = "the record of what was set aside"
        advice = f"Inspect the files in {data.set_aside}."
        return [Problem(what=what, path=str(path), problem=_text_of(error), advice=advice)]


def _unknown(path: Path) -> Problem:
    problem = "an earlier start could not read it"
    return Problem(what="something", path=str(path), problem=problem, advice=LOOK, moved=True)


def _unusable(path: Path) -> str:
    """Why a path cannot be used as a file; "" if it can."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return "it is not a file"
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            return "it cannot be read and written"
    except OSError as error:
        return _text_of(error)
    return ""


def _text_of(problem: object) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return str(problem)

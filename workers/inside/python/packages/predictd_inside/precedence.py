"""The packages `cdsw` and `cml` are there, and yield to whatever else has their names.

In a replica they are found by a finder that is asked last, so a module of the project, of its
environment or of an editable install comes first. A script, and a model that imports one of ours,
has them for the processes that it starts as well: multiprocessing hands on `sys.path`, other
Pythons find them by PYTHONPATH, which comes before what is installed. There the package itself
looks whether there is another, and gives way.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

PACKAGES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OURS = ("cdsw", "cml")


class Last:
    """A finder of our packages, for the end of `sys.meta_path`."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in OURS:
            return None
        from importlib.machinery import PathFinder  # late: gotcha G2 in README

        show_children()
        return PathFinder.find_spec(name, [PACKAGES])


def come_last() -> None:
    """From now on `import cdsw` and `import cml` find ours where there is no other."""
    sys.meta_path.append(Last)


def show_children() -> None:
    """Lets this process, and Pythons that it starts, find ours where there are no others."""
    if PACKAGES not in sys.path:
        sys.path.append(PACKAGES)
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if PACKAGES not in entries:
        os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, entries), PACKAGES])


def give_way(name: str) -> None:
    """Called by our package `name` as it is imported: another of that name takes its place."""
    from importlib.util import module_from_spec

    spec = _another(name)
    if spec is not None and spec.loader is not None:
        # The import that is under way gives what stands here when it ends.
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


def _another(name: str) -> ModuleSpec | None:
    from importlib.machinery import PathFinder

    elsewhere = [entry for entry in sys.path if os.path.abspath(entry) != PACKAGES]
    for finder in sys.meta_path:
        if finder is Last:
            continue
        spec = finder.find_spec(name, elsewhere if finder is PathFinder else None)
        # A folder of that name without a file in it that makes it a package has no loader.
        if spec is not None and spec.loader is not None:
            return spec
    return None

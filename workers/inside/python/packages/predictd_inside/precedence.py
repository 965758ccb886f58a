"""The packages `cdsw` and `cml` are importable, and yield to other modules of their names.

In a replica a finder finds them that asks all other finders first. So a module of the project, of
its environment or of an editable install wins. A script, and a model that imports one of ours,
passes them on to the processes that it starts: multiprocessing passes on `sys.path`, and other
Pythons read PYTHONPATH, which comes before installed packages. There our package itself looks for
another of its name, and yields.

A mere folder of the name, in which projects keep their deployment, is not another package: Python
would take it for one only where there is none. Its modules can still be imported, and come first.
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


class SdkFinder:
    """A finder for our packages, at the beginning of `sys.meta_path`."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in OURS:
            return None
        from importlib.machinery import PathFinder  # late: gotcha G2 in README

        another, _ = _others(name)
        if another is not None:
            return another
        show_children()
        return PathFinder.find_spec(name, [PACKAGES])


def offer() -> None:
    """From now on `import cdsw` and `import cml` find ours where there is no other."""
    sys.meta_path.insert(0, SdkFinder)


def show_children() -> None:
    """Lets this process, and Pythons that it starts, find our packages where no others exist."""
    if PACKAGES not in sys.path:
        sys.path.append(PACKAGES)
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if PACKAGES not in entries:
        os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, entries), PACKAGES])


def defer_to(name: str) -> None:
    """Our package `name` calls this as it is imported: another of that name replaces it."""
    from importlib.util import module_from_spec

    another, folders = _others(name)
    if another is None or another.loader is None:
        sys.modules[name].__path__[:0] = folders
        return
    # The current import returns the module that `sys.modules` has when it ends.
    sys.modules[name] = module_from_spec(another)
    another.loader.exec_module(sys.modules[name])


def _others(name: str) -> tuple[ModuleSpec | None, list[str]]:
    """Another module of that name, or None; and the mere folders of that name."""
    from importlib.machinery import PathFinder

    elsewhere = [entry for entry in sys.path if os.path.abspath(entry) != PACKAGES]
    folders: list[str] = []
    for finder in sys.meta_path:
        if finder is SdkFinder:
            continue
        spec = finder.find_spec(name, elsewhere if finder is PathFinder else None)
        if spec is not None and spec.loader is not None:
            return spec, []
        if spec is not None:
            folders += spec.submodule_search_locations or []
    return None, folders

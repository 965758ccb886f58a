"""Adds the bytecode of all packages to a sealed environment, after its build.

uv writes none, and a script leaves that of what it has imported. Each start of a scikit-learn
replica would compile for 1.2 s; all packages take 4 to 7 s, so they are compiled when the build is
done. Bytecode is no change of what is sealed: Python gives the same results, sooner.

The sources are the project's, and so is the process that reads them: confined as its builds are. So
its bytecode is used in the environment alone whose sources it was made from. It reaches others only
through the store of equal files. It is on the disk before it has its name: Python does not check
bytecode, and a power cut must not leave half of one.
"""

import os
import stat
from functools import partial
from pathlib import Path

import trio

from builder.file_store.bytecode import BYTECODE_FOLDER
from builder.file_store.links import add_to_store, link_files
from builder.files.fsync import sync_file_system, sync_folder
from builder.files.remove_tree import remove_tree
from builder.interpreters import Interpreter
from builder.log_tail import NullLog
from builder.reuse.environment_store import EnvironmentStore
from builder.sealed_folders import take_ownership
from builder.spec import Run, SandboxPaths

TIME_LIMIT = 300.0  # seconds
# Beside the environment, while it is compiled; and when that is done.
_WORKSHOP, _DONE = "compiling", "compiled"
_PROGRAM = Path(__file__).with_name("compile_sources.py")
_VARIABLES = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
# What a seed has, and no model imports.
_TOOLS = ("pip", "setuptools", "_distutils_hack", "pkg_resources", "wheel")


async def compile_environment(
    environment: Path, interpreter: Interpreter, *, run: Run, file_store: Path
) -> None:
    """Compile the packages of a sealed environment, unless that is done. It must not be removed
    meanwhile. Raises OSError, TimeoutError."""
    if is_compiled(environment):
        return
    site_packages = await trio.to_thread.run_sync(_to_compile, environment)
    if site_packages is None:
        await trio.to_thread.run_sync((environment / _DONE).touch)
        return
    workshop = environment / _WORKSHOP
    try:
        await trio.to_thread.run_sync(_make, workshop)
        await run(
            [
                *(str(interpreter.path), "-I", "-S", "-B", "-c", _PROGRAM.read_text()),
                *(str(site_packages), str(workshop / "out")),
            ],
            cwd=workshop / "home",
            paths=SandboxPaths(
                home=workshop / "home",
                tmp=workshop / "tmp",
                read=(environment / "environment",),
                write=(workshop / "out",),
                prefix=interpreter.prefix,
            ),
            variables=_VARIABLES,
            log=NullLog(),
            time_limit=TIME_LIMIT,
        )
        await trio.to_thread.run_sync(_install, workshop / "out", site_packages, file_store)
        await trio.to_thread.run_sync((environment / _DONE).touch)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(partial(remove_tree, workshop))


def is_compiled(environment: Path) -> bool:
    """Whether the packages of an environment are compiled."""
    return (environment / _DONE).exists()


def last_compiled(environments: EnvironmentStore, project: str, interpreter: Interpreter) -> str:
    """Return the id of the project's environment of this interpreter that is compiled, the last
    used of several; "" for none. Blocking."""
    wanted = str(interpreter.path), interpreter.version
    for name in reversed(environments.sealed_names(project)):
        found = environments.sealed(name)
        is_like = found is not None and (found.interpreter, found.version) == wanted
        if is_like and is_compiled(environments.folder(name)):
            return name
    return ""


def remove_half_compiled(environment: Path) -> None:
    """Remove what a killed gateway has left. Blocking. Raises OSError."""
    remove_tree(environment / _WORKSHOP)


def _to_compile(environment: Path) -> Path | None:
    """The packages of an environment, if it has some."""
    for site_packages in (environment / "environment/lib").glob("python*/site-packages"):
        inner = site_packages.relative_to(environment)
        if site_packages.resolve() != environment.resolve() / inner:
            continue  # the script has put a link there
        if any(map(_is_package, site_packages.iterdir())):
            return site_packages
    return None


def _is_package(path: Path) -> bool:
    is_source = path.suffix == ".py" or (path.is_dir() and not path.suffix)
    return is_source and path.name not in (*_TOOLS, BYTECODE_FOLDER)


def _make(workshop: Path) -> None:
    workshop.mkdir()
    workshop.chmod(0o755)
    for name in ("home", "tmp", "out"):
        (workshop / name).mkdir()


def _install(out: Path, site_packages: Path, file_store: Path) -> None:
    take_ownership(out)
    new = link_files(out, file_store)
    sync_file_system(out)
    add_to_store(new, file_store)
    # Neither walk follows a link, which a script or the process may have left: so nothing is
    # written or read elsewhere.
    sources = {
        os.path.relpath(folder, site_packages): {*names}
        for folder, _, names, _ in os.fwalk(site_packages)
    }
    for folder, _, names, here in os.fwalk(out):
        inner = os.path.relpath(folder, out)
        there = sources.get(inner, set())
        made = [name for name in names if _is_bytecode(here, name, there)]
        target = site_packages / inner / BYTECODE_FOLDER
        if made and not target.is_symlink():
            target.mkdir(exist_ok=True)
            target.chmod(0o755)
            for name in made:
                os.rename(name, target / name, src_dir_fd=here)
            sync_folder(target)


def _is_bytecode(here: int, name: str, sources: set[str]) -> bool:
    """Whether the process has left a file of this name, and there is a source for it."""
    facts = os.stat(name, dir_fd=here, follow_symlinks=False)
    is_named = name.endswith(".pyc") and f"{name.partition('.')[0]}.py" in sources
    return is_named and stat.S_ISREG(facts.st_mode)

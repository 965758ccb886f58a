"""Compiles the packages of an environment: `python compile_sources.py SITE-PACKAGES OUT`.

Run by the interpreter of the environment, confined, on the standard library of CPython 3.8. For
`a/b.py` it writes `OUT/a/b.cpython-311.pyc`. The bytecode names neither a path nor a time, so equal
sources have equal bytecode. What has such bytecode, from an earlier environment, is left out. So is
what cannot be compiled: tests of packages are often not meant to be.
"""

import importlib.util
import os
import py_compile
import sys

# The environment's own tools, which no model imports, and what is not imported by users.
_TOOLS = {"pip", "setuptools", "_distutils_hack", "pkg_resources", "wheel", "virtualenv"}
_UNUSED = {"__pycache__", "tests", "test"}
_MOST_BYTES = 1 << 20
_MODE = py_compile.PycInvalidationMode.UNCHECKED_HASH
_HEADER = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
# Python puts the real path in its place when it loads the module.
_ANY_PATH = "module.py"


def main(site_packages: str, out: str) -> None:
    os.nice(19)
    for folder, folders, files in os.walk(site_packages):
        inner = os.path.relpath(folder, site_packages)
        left_out = _UNUSED | _TOOLS if inner == "." else _UNUSED
        folders[:] = sorted(set(folders) - left_out)
        target = os.path.join(out, inner)
        os.makedirs(target, exist_ok=True)
        for name in sorted(files):
            if name.endswith(".py"):
                compile_one(os.path.join(folder, name), os.path.join(target, name[:-3]))


def compile_one(source: str, target: str) -> None:
    path = f"{target}.{sys.implementation.cache_tag}.pyc"
    try:
        if not os.path.isfile(source) or os.path.getsize(source) > _MOST_BYTES:
            return
        if not has_bytecode(source):
            py_compile.compile(source, path, dfile=_ANY_PATH, doraise=True, invalidation_mode=_MODE)
    except Exception:
        pass


def has_bytecode(source: str) -> bool:
    """Whether the environment has bytecode with the hash of this source."""
    path = importlib.util.cache_from_source(source)
    if not os.path.isfile(path):
        return False
    with open(source, "rb") as file:
        wanted = _HEADER + importlib.util.source_hash(file.read())
    with open(path, "rb") as file:
        return file.read(len(wanted)) == wanted


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Bytecode is valid after its source became a link to an older file."""

import os
import py_compile
import subprocess
import sys
from pathlib import Path

from builder.file_store.links import add_to_store, link_files


def compiled_with(folder: Path, *, at: float) -> None:
    """A module, with bytecode that an import has written."""
    folder.mkdir()
    (folder / "module.py").write_text("x = 1\n")
    os.utime(folder / "module.py", (at, at))
    environment = {"PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([sys.executable, "-c", "import module"], cwd=folder, env=environment, check=True)


def compiles(folder: Path) -> bool:
    """Whether an import has to compile the module again."""
    code = "import sys, module; print(module.x)"
    done = subprocess.run(
        [sys.executable, "-v", "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    return f"code object from {folder}/module.py" in done.stderr


def header(folder: Path) -> int:
    [file] = (folder / "__pycache__").glob("module.*.pyc")
    return int.from_bytes(file.read_bytes()[4:8], "little")


def test_bytecode_survives_a_link(tmp_path: Path) -> None:
    """The second environment starts without compiling, though its source has another time."""
    for number, name in enumerate(("one", "two")):
        compiled_with(tmp_path / name, at=1_700_000_000 + number)
        add_to_store(link_files(tmp_path / name, tmp_path / "store"), tmp_path / "store")
    one, two = tmp_path / "one", tmp_path / "two"
    assert (one / "module.py").stat().st_ino == (two / "module.py").stat().st_ino
    assert not compiles(one)
    assert not compiles(two)


def test_stale_bytecode_is_not_made_valid(tmp_path: Path) -> None:
    """Bytecode of another source than the one that is there stays stale."""
    compiled_with(tmp_path / "one", at=1_700_000_000)
    (tmp_path / "one/module.py").write_text("x = 2\n")
    link_files(tmp_path / "one", tmp_path / "store")
    assert header(tmp_path / "one") == 0
    assert compiles(tmp_path / "one")


def checked(folder: Path, source: str) -> Path:
    """A module, and the bytecode of `source` that Python checks by its hash."""
    folder.mkdir()
    module = folder / "module.py"
    module.write_text(source)
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    made = py_compile.compile(str(module), dfile="module.py", invalidation_mode=mode)
    assert made
    return Path(made)


def test_checked_bytecode_is_shared(tmp_path: Path) -> None:
    """Bytecode with the hash of its source is not checked any more, and is one file."""
    made = [checked(tmp_path / name, "x = 1\n") for name in ("one", "two")]
    for name in ("one", "two"):
        add_to_store(link_files(tmp_path / name, tmp_path / "store"), tmp_path / "store")
        assert header(tmp_path / name) == 1
        assert not compiles(tmp_path / name)
    assert made[0].stat().st_ino == made[1].stat().st_ino


def test_bytecode_of_another_source_stays_checked(tmp_path: Path) -> None:
    """Python compiles a source again that a script has changed since."""
    checked(tmp_path / "one", "x = 1\n")
    (tmp_path / "one/module.py").write_text("x = 2\n")
    link_files(tmp_path / "one", tmp_path / "store")
    assert header(tmp_path / "one") == 3
    assert compiles(tmp_path / "one")


def test_odd_bytecode_is_left_alone(tmp_path: Path) -> None:
    """A pipe, a link, a short file and bytecode without a source end nothing."""
    cache = tmp_path / "one/__pycache__"
    cache.mkdir(parents=True)
    for name in ("pipe", "link", "short", "linked"):
        (tmp_path / f"one/{name}.py").write_text("")
    os.mkfifo(cache / "pipe.cpython-311.pyc")
    (cache / "link.cpython-311.pyc").symlink_to("/proc/self/mem")
    (cache / "short.cpython-311.pyc").write_bytes(b"\0")
    os.mkfifo(tmp_path / "one/source.py")
    (cache / "source.cpython-311.pyc").write_bytes(bytes(4) + b"\3" + bytes(11))
    (cache / "gone.cpython-311.pyc").write_bytes(bytes(100))
    link_files(tmp_path / "one", tmp_path / "store")
    assert (cache / "short.cpython-311.pyc").read_bytes() == b"\0"

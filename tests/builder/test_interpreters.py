"""Interpreters are found by asking them, and known by the names that people use."""

import os
import sys
from pathlib import Path

import pytest
import trio

from builder.errors import InterpreterUnusable, RMissing, UnknownKernel
from builder.interpreters import (
    Interpreter,
    discover,
    inspect,
    language_of_file,
    match,
    of_language,
)
from tests.support.polling import wait_until

OURS = "python{}.{}".format(*sys.version_info[:2])


def interpreter(version: str, default: bool = False) -> Interpreter:
    minor = version.rpartition(".")[0]
    return Interpreter(
        identifier=f"python{minor}",
        kernel=f"Python {minor}",
        version=version,
        path=Path(f"/usr/bin/python{minor}"),
        default=default,
    )


KNOWN = [interpreter("3.8.18"), interpreter("3.11.7", default=True), interpreter("3.12.1")]


@pytest.mark.parametrize(
    ("kernel", "version"),
    [
        *[(name, "3.11.7") for name in ("", "  ", "python3", "Python 3", "PYTHON", "python3.11")],
        *[(name, "3.8.18") for name in ("Python 3.8", "python3.8", " PYTHON  3.8 ")],
        ("Python 3.12", "3.12.1"),
    ],
)
def test_names(kernel: str, version: str) -> None:
    """Case and blanks do not matter; no name and `python3` are the default."""
    assert match(kernel, KNOWN).version == version


@pytest.mark.parametrize("kernel", ["python3.1", "python2", "r4.2", "python3.11.7", "3"])
def test_unknown_interpreter_is_refused(kernel: str) -> None:
    """Another name is refused, with all available names."""
    with pytest.raises(UnknownKernel) as caught:
        match(kernel, KNOWN)
    assert caught.value.known == ["Python 3.8", "Python 3.11", "Python 3.12"]
    assert repr(kernel) in caught.value.problem


def r(version: str) -> Interpreter:
    minor = version.rpartition(".")[0]
    return Interpreter(
        identifier=f"r{minor}",
        kernel=f"R {minor}",
        version=version,
        path=Path("/usr/bin/Rscript"),
        language="r",
    )


@pytest.mark.parametrize(
    ("kernel", "version"),
    [("r", "4.10.0"), (" R ", "4.10.0"), ("R 4.2", "4.2.3"), ("r4.2", "4.2.3"), ("", "3.11.7")],
)
def test_names_of_r(kernel: str, version: str) -> None:
    """`r` is the newest R, and a name with a version is that R; no name is never one."""
    assert match(kernel, [*KNOWN, r("4.2.3"), r("4.10.0")]).version == version


def test_machine_without_r_says_what_to_install() -> None:
    """What needs R is refused with the packages to install; Python is there."""
    with pytest.raises(RMissing) as caught:
        match("R", KNOWN)
    assert "`r-base-core` and `r-cran-jsonlite`" in caught.value.advice
    with pytest.raises(RMissing):
        of_language("r", KNOWN)
    assert of_language("python", KNOWN).version == "3.11.7"


def test_ending_of_a_file_is_its_language() -> None:
    """Files of R end in .R or .r; any other is one of Python."""
    found = [language_of_file(name) for name in ("a.R", "b/c.r", "a.py", "R", "a.Rmd", "")]
    assert found == ["r", "r", "python", "python", "python", "python"]


async def test_r_is_found_beside_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An R is found by its `Rscript`, after the Pythons; an old or bare one is passed over."""
    home = tmp_path / "opt/lib/R"
    for folder, version, has_json in (
        ("a", "9.8.1", "TRUE"),
        ("b", "9.8.4", "TRUE"),
        ("old", "3.6.3", "TRUE"),
        ("bare", "9.7.0", "FALSE"),
        ("dumb", "hello", "TRUE"),
    ):
        answer = f"printf '%s\\n' {version} {home} {has_json}"
        script(tmp_path / folder / "Rscript", answer)
    folders = [str(tmp_path / name) for name in ("a", "b", "old", "bare", "dumb")]
    monkeypatch.setenv("PATH", ":".join([*folders, os.environ["PATH"]]))
    found = await discover(Path(sys.executable))
    rs = [each for each in found if each.language == "r" and each.release > (9,)]
    assert [(each.identifier, each.version) for each in rs] == [("r9.8", "9.8.4")]
    assert (rs[0].path, rs[0].prefix) == (tmp_path / "b/Rscript", tmp_path / "opt")
    assert found[0].language == "python"
    for name, reason in (("old", "older than 4.0"), ("bare", "no package jsonlite")):
        with pytest.raises(InterpreterUnusable, match=reason):
            await inspect(tmp_path / name / "Rscript")


async def test_discovery_has_each_minor_version_once() -> None:
    """Each minor version is there once, oldest first, and the one that runs us is the default."""
    found = await discover()
    assert len({each.identifier for each in found}) == len(found)
    assert found == sorted(found, key=lambda each: (each.language, each.release))
    assert [each.identifier for each in found if each.default] == [OURS]
    assert all(each.release >= (3, 8) for each in found)


async def test_discovery_takes_the_newest_working_patch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest patch counts; what is broken, old, foreign or a shim is passed over."""
    script(tmp_path / "a/python3.97", answer("3.97.1"))
    script(tmp_path / "b/python3", answer("3.97.4"))
    script(tmp_path / "b/python3.96", answer("3.96.0", implementation="PyPy"))
    script(tmp_path / "b/python3.95", "exit 1")
    script(tmp_path / "b/python3.7", answer("3.7.1"))
    script(tmp_path / "b/python3-config", answer("3.94.0"))
    script(tmp_path / "shims/python3.93", answer("3.93.0"))
    folders = [str(tmp_path / name) for name in ("a", "b", "shims", "missing")]
    monkeypatch.setenv("PATH", ":".join([*folders, os.environ["PATH"]]))
    found = {each.identifier: each.version for each in await discover(Path(sys.executable))}
    assert found["python3.97"] == "3.97.4"
    assert not {"python3.96", "python3.95", "python3.94", "python3.93", "python3.7"} & set(found)


async def test_cancelled_discovery_asks_no_further_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that stops meanwhile waits for the answer of one interpreter, not for all."""
    waits = "until [ -e ${0%/*}/released ]; do sleep 0.01; done"
    script(tmp_path / "a/python3.97", f"touch ${{0%/*}}/asked; {waits}")
    script(tmp_path / "b/python3.98", "touch ${0%/*}/asked")
    monkeypatch.setenv("PATH", f"{tmp_path / 'a'}:{tmp_path / 'b'}:{os.environ['PATH']}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(discover, Path(sys.executable))
        await wait_until((tmp_path / "a/asked").exists)
        nursery.cancel_scope.cancel()
        (tmp_path / "a/released").touch()
    assert not (tmp_path / "b/asked").exists()


async def test_chosen_default_stands_for_its_minor_version(tmp_path: Path) -> None:
    """The default that was chosen stands for its minor version, regardless of others."""
    chosen = script(tmp_path / "python", answer("3.8.0"))
    found = await discover(chosen)
    assert [(each.version, each.default) for each in found if each.identifier == "python3.8"] == [
        ("3.8.0", True)
    ]


async def test_unusable_interpreter_is_refused(tmp_path: Path) -> None:
    """One that was asked for by its path is refused by path and reason."""
    for name, text, reason in (
        ("old", answer("3.7.9"), "Python 3.7.9, older than 3.8"),
        ("foreign", answer("3.10.1", implementation="PyPy"), "PyPy, not CPython"),
        ("bare", answer("3.8.1", ensurepip="false"), "no ensurepip"),
        ("broken", "echo ModuleNotFoundError: ssl >&2; exit 1", "ModuleNotFoundError: ssl"),
        ("dumb", "echo hello", "is not that of Python"),
        ("minimal", without_a_library(), "No module named 'platform'"),
    ):
        path = script(tmp_path / name, text)
        with pytest.raises(InterpreterUnusable, match=reason):
            await inspect(path)
    with pytest.raises(InterpreterUnusable, match="No such file"):
        await discover(tmp_path / "gone")


async def test_interpreter_is_asked_once_until_its_program_changes(tmp_path: Path) -> None:
    """An unchanged program is asked once; another one at its path is asked again. A script that
    starts another program may start a new one the next time, so it is always asked."""
    asked = tmp_path / "asked"
    count = f"echo >> {asked}; "
    path = script(tmp_path / "python", count + answer("3.11.1"))
    assert [(await inspect(path)).version for _ in range(3)] == ["3.11.1"] * 3
    assert asked.read_text() == "\n"
    script(path, count + answer("3.11.2"))
    assert [(await inspect(path)).version for _ in range(2)] == ["3.11.2"] * 2
    assert asked.read_text() == "\n\n"
    wrapper = script(tmp_path / "wrapper", f'{count}exec {path} "$@"')
    await inspect(wrapper)
    script(path, count + answer("3.11.3"))
    assert (await inspect(wrapper)).version == "3.11.3"


async def test_interpreter_behind_a_virtual_environment_is_used() -> None:
    """The interpreter behind a virtual environment is what a build stands on."""
    found = await inspect(Path(sys.executable))
    assert not (found.path.parent.parent / "pyvenv.cfg").exists()


def answer(version: str, implementation: str = "CPython", ensurepip: str = "true") -> str:
    numbers = version.replace(".", ",")
    return (
        f"""echo '{{"implementation":"{implementation}","version":[{numbers}],"""
        f""""path":"'"$0"'","ensurepip":{ensurepip}}}'"""
    )


def without_a_library() -> str:
    """Answers by a Python whose modules, but those of the question itself, are not there."""
    modules = "_ssl, importlib.machinery, json, sys, zlib"
    before = f"import {modules}; sys.path.clear(); exec(sys.argv[1])"
    return f"""exec {sys.executable} -I -S -c '{before}' "$4" """


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path

"""A build ends whole or absent, with its steps and, if it failed, with a reason."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from builder.build import build
from builder.errors import ProbeFailed
from builder.interpreters import Interpreter, discover
from builder.spec import BuildSpec, Probed
from tests.faults.matrix import fault
from tests.support.builder import Bench, content, run
from tests.support.wheels import make_wheel

MODEL = "def predict(args):\n    return args\n"


def package(bench: Bench, name: str, version: str) -> None:
    make_wheel(bench.project / "wheels", name, version)


async def run_nothing(*_: object, **__: object) -> int:
    """A `Run` that must not be called."""
    raise AssertionError("something was run")


def states(bench: Bench) -> dict[str, str]:
    return {step.name: step.state for step in bench.steps[-1].steps}


def python(bench: Bench, code: str, name: str = "one") -> str:
    """What the build's own Python prints."""
    return output(str(bench.environments.virtualenv(name) / "bin/python"), "-c", code)


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def test_build_runs_all_steps(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that installs and prepares makes a sealed build at its final path."""
    monkeypatch.setenv("CANARY", "of the gateway")
    monkeypatch.setenv("PYTHONPATH", "/of/the/gateway")
    package(bench, "greeting", "1.0")
    bench.write("model.py", MODEL)
    bench.write(
        "cdsw-build.sh",
        """
        pip3 install --user --no-index --find-links wheels greeting==1.0
        python -c 'import greeting; open("made.txt", "w").write(greeting.VERSION)'
        env > env.txt
        command -v pip python python3 > commands.txt
        touch "$TMPDIR/scrap"
        echo progress
        """,
    )
    variables = {"COLOUR": "blue", "LANG": "C", "PATH": "/project/bin:/usr/bin:/bin"}
    report = await bench.build(variables=variables)

    assert report.failure is None
    assert report.outcome == "built"
    states_now = states(bench)
    assert (states_now.pop("CHECK"), {*states_now.values()}) == ("skipped", {"done"})
    folder = bench.shelf.folder("one")
    assert {path.name for path in folder.iterdir()} == {"code", "sealed"}
    assert (folder / "code/made.txt").read_text() == "1.0"
    assert "progress" in bench.log

    seen = dict(line.split("=", 1) for line in (folder / "code/env.txt").read_text().splitlines())
    own = bench.environments.virtualenv("one")
    for left in ("_", "SHLVL", "PWD", "OLDPWD"):  # bash's own
        seen.pop(left, None)
    assert seen == {
        "PATH": f"{own}/predictd-bin:{own}/bin:/project/bin:/usr/bin:/bin",
        "HOME": str(folder / "code"),
        "TMPDIR": str(folder / "tmp"),
        "VIRTUAL_ENV": str(own),
        "LANG": "C",
        "COLOUR": "blue",
        "PIP_CACHE_DIR": str(bench.pip_cache),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PYTHONUNBUFFERED": "1",
        "R_LIBS": f"{own}/library",
        "R_LIBS_USER": f"{own}/library",
        "R_PROFILE": f"{own}/predictd-bin/Rprofile.site",
        "PREDICTD_R_REQUESTS": str(folder / "tmp/r-requests"),
        "RENV_CONFIG_AUTOLOADER_ENABLED": "FALSE",
        "RENV_CONFIG_CACHE_ENABLED": "FALSE",
        "RENV_PATHS_ROOT": str(bench.pip_cache / "renv"),
    }
    assert (folder / "code/commands.txt").read_text().splitlines() == [
        f"{own}/predictd-bin/pip",
        f"{own}/bin/python",
        f"{own}/bin/python3",
    ]
    assert python(bench, "import greeting; print(greeting.VERSION)") == "1.0"
    assert "greeting" in output(f"{own}/bin/pip", "list", "--format=freeze")

    manifest = bench.shelf.sealed("one")
    assert manifest is not None
    assert (manifest.file, manifest.function) == ("model.py", "predict")
    assert manifest.version == ".".join(map(str, sys.version_info[:3]))
    # What its replicas are shown of the interpreter: all that `bin/python` needs.
    real = Path(sys.base_prefix).resolve()
    assert bench.shelf.prefix("one") == real
    assert (own / "bin" / "python").readlink().is_relative_to(real / "bin")


async def test_environments_are_apart(bench: Bench) -> None:
    """Two builds hold two versions of one package, and nothing that we have installed."""
    bench.write("model.py", MODEL)
    for name, version in (("one", "1.0"), ("two", "2.0")):
        package(bench, "greeting", version)
        bench.write(
            "cdsw-build.sh",
            f"pip install --no-index wheels/greeting-{version}-py3-none-any.whl",
        )
        assert (await bench.build(name)).outcome == "built"
    code = "import greeting, importlib.util as u; print(greeting.VERSION, u.find_spec('trio'))"
    assert python(bench, code, "one") == "1.0 None"
    assert python(bench, code, "two") == "2.0 None"


async def test_build_without_script_skips_its_step(bench: Bench) -> None:
    """A project without a build script is built, its step skipped; the steps say when."""
    bench.write("code/6_model.serve.py", MODEL)
    report = await bench.build(file="6_model.serve.py", model_root="code")
    assert report.outcome == "built"
    assert states(bench) == {
        "SNAPSHOT": "done",
        "CHECK": "skipped",
        "ENVIRONMENT": "done",
        "BUILD_SCRIPT": "skipped",
        "PROBE": "done",
        "SEAL": "done",
    }
    assert report.steps == bench.steps[-1]
    step = report.steps["ENVIRONMENT"]
    assert step.started_at is not None
    assert step.started_at.endswith("Z")
    assert step.seconds is not None
    assert step.seconds > 0


async def test_missing_package_is_the_problem(bench: Bench) -> None:
    """A package that cannot be found is the problem, in the words of uv."""
    bench.write("model.py", MODEL)
    bench.write("cdsw-build.sh", "pip install --no-index no-such-package==9")
    report = await bench.build()
    assert report.failure is not None
    assert report.failure.problem.startswith("Because no-such-package was not found in the ")
    assert "another kernel" in report.failure.advice


@pytest.mark.parametrize(
    ("script", "problem", "advice"),
    [
        ("python3 -c 'raise OSError(17)'", "OSError: 17 (exit status 1)", "by hand"),
        ("no-such-command", "no-such-command: command not found", "operator"),
        ("kill -9 $$", "killed by SIGKILL", "memory"),
        ("echo fine\n" + "#" * (1 << 20), "more than 1,048,576 bytes", "separate files"),
        ("exit 3", "it printed nothing (exit status 3)", "by hand"),
    ],
)
async def test_failing_script_fails_the_build(
    bench: Bench, script: str, problem: str, advice: str
) -> None:
    """A script that fails is reported with step, summary, problem and advice; nothing is left."""
    bench.write("model.py", MODEL)
    bench.write("cdsw-build.sh", script)
    report = await bench.build()
    assert report.outcome == "failed"
    assert report.failure is not None
    assert report.failure.step == "BUILD_SCRIPT"
    assert report.failure.summary == "The build script failed"
    assert problem in report.failure.problem
    assert advice in report.failure.advice
    assert states(bench)["BUILD_SCRIPT"] == "failed"
    assert states(bench)["PROBE"] == "waiting"
    assert not bench.shelf.folder("one").exists()


@pytest.mark.parametrize(
    ("before", "end", "told"),
    [
        ("", "\r\n", "Windows line ends"),
        ("\ufeff", "\n", "a byte order mark"),
        ("\ufeff", "\r\n", "a byte order mark and Windows line ends"),
    ],
)
async def test_script_with_other_line_ends_is_run(
    bench: Bench, before: str, end: str, told: str
) -> None:
    """A script with other line ends, or a byte order mark, is run as intended, and the log says so;
    the project's file is unchanged."""
    bench.write("model.py", MODEL)
    lines = ["set -e", "if true; then", "  echo made >made", "fi", '[ "$(cat made)" = made ]', ""]
    script = bench.write("cdsw-build.sh", before + end.join(lines))
    bytes_before = script.read_bytes()
    report = await bench.build()
    assert report.failure is None, report.failure
    assert f"cdsw-build.sh has {told}, which the build leaves out" in bench.log
    assert script.read_bytes() == bytes_before


async def test_exit_status_decides(bench: Bench) -> None:
    """A line that fails in the middle of a script is the script's business."""
    bench.write("model.py", MODEL)
    bench.write("cdsw-build.sh", "false\nno-such-command\necho fine\n")
    assert (await bench.build()).outcome == "built"


async def test_named_script_must_exist(bench: Bench) -> None:
    """A script that was asked for by name must be there."""
    bench.write("model.py", MODEL)
    report = await bench.build(script="prepare.sh")
    assert report.failure is not None
    assert report.failure.problem == "prepare.sh is not a file of the project"


async def test_failure_is_text(bench: Bench, tmp_path: Path) -> None:
    """A failure that names a file with bytes that are no text can be stored."""
    bench.write("model.py", MODEL)
    linked = shlex.quote(str(tmp_path / "linked"))
    bench.write("cdsw-build.sh", f"touch $'a\\377' && ln $'a\\377' {linked}")
    report = await bench.build()
    assert report.failure is not None
    assert r"code/a\udcff" in report.failure.problem
    assert report.failure.problem.isprintable()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"file": "../model.py"}, "is outside"),
        ({"file": "/etc/passwd.py"}, "is outside"),
        ({"file": "model.py\0"}, "is outside"),
        ({"file": "model.txt"}, "not a Python file"),
        ({"model_root": "nowhere"}, "not a folder"),
        ({"model_root": ".."}, "not a folder"),
    ],
)
async def test_model_outside_the_project_is_refused(
    bench: Bench, changes: dict[str, str], problem: str
) -> None:
    """A model that is not beneath the project is refused before anything is spent on it."""
    bench.write("model.py", MODEL)
    report = await bench.make(await bench.spec(**changes), run_nothing, content)
    assert report.failure is not None
    assert report.failure.step == "ENVIRONMENT"
    assert problem in report.failure.problem
    assert not bench.shelf.folder("one").exists()


async def test_script_may_make_the_model_file(bench: Bench) -> None:
    """The script may make the file to serve; without it, or with a link out, there is no build."""
    bench.write("cdsw-build.sh", "$MAKE")
    made = await bench.build("made", variables={"MAKE": "touch model.py"})
    assert made.outcome == "built"
    for name, make in (("missing", "true"), ("out", "ln -s /etc/hostname model.py")):
        report = await bench.build(name, variables={"MAKE": make})
        assert report.failure is not None
        assert report.failure.step == "PROBE"
        assert "'model.py'" in report.failure.problem
        assert not bench.shelf.folder(name).exists()


async def test_probe_decides_the_build(bench: Bench) -> None:
    """The probe sees the finished build; what it says is what is reported."""
    bench.write("model.py", MODEL)
    seen = []

    async def probe(spec: BuildSpec, interpreter: Interpreter) -> Probed:
        seen.append((spec.root / "model.py").read_text())
        raise ProbeFailed("The model did not start", "NameError: x", "Define x.")

    report = await bench.build(probe=probe)
    assert seen == [MODEL]
    assert report.failure is not None
    assert (report.failure.step, report.failure.problem) == ("PROBE", "NameError: x")
    assert not bench.shelf.folder("one").exists()


async def test_build_past_its_time_is_ended(bench: Bench) -> None:
    """A build that takes too long is ended, whichever of its steps it is in."""
    bench.write("model.py", MODEL)
    bench.write("cdsw-build.sh", "sleep 1000")
    report = await bench.build(time_limit=1)
    assert report.outcome == "timed_out"
    assert report.failure is not None
    assert report.failure.step == "BUILD_SCRIPT"
    assert "limit of 1 s" in report.failure.problem
    assert states(bench)["BUILD_SCRIPT"] == "failed"
    assert not bench.shelf.folder("one").exists()


@fault(
    "a build is cancelled",
    injection="in each of its steps",
    bound="neither folder nor process is left",
)
async def test_cancellation(bench: Bench) -> None:
    """A cancelled build leaves neither a folder nor a process."""
    bench.write("model.py", MODEL)
    bench.write("cdsw-build.sh", "echo $$; sleep 1000")
    started = trio.Event()
    pids = []

    class Watching:
        def write(self, line: str) -> None:
            if line.isdigit():
                pids.append(int(line))
                started.set()

    spec = await bench.spec()
    async with trio.open_nursery() as nursery:

        async def make() -> None:
            await build(
                *(spec, bench.environments),
                run=run,
                seeds=bench.seeds,
                probe=content,
                log=Watching(),
                changed=lambda _: None,
            )

        nursery.start_soon(make)
        await started.wait()
        assert spec.folder.exists()
        nursery.cancel_scope.cancel()
    assert not spec.folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


async def test_internal_error_is_raised_and_leaves_nothing(bench: Bench) -> None:
    """An error that no user can act on is raised, and still leaves nothing."""
    bench.write("model.py", MODEL)

    async def probe(spec: BuildSpec, interpreter: Interpreter) -> Probed:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bench.build(probe=probe)
    assert not bench.shelf.folder("one").exists()


async def test_failure_of_the_machine_is_for_the_operator(bench: Bench) -> None:
    """What the machine refuses is reported for the operator."""
    bench.write("model.py", MODEL)
    bench.write("cdsw-build.sh", "true")

    async def broken(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    report = await bench.make(await bench.spec(), broken, content)
    assert report.failure is not None
    assert "No space left" in report.failure.problem
    assert "operator" in report.failure.advice


@fault(
    "an interpreter that does not run",
    injection="asked for in a build",
    bound="named, with what to do",
)
async def test_missing_interpreter_is_named(bench: Bench, tmp_path: Path) -> None:
    """An interpreter that does not run is named, with what to do."""
    bench.write("model.py", MODEL)
    report = await bench.build(interpreter=tmp_path / "python3.11")
    assert report.failure is not None
    assert str(tmp_path / "python3.11") in report.failure.problem


async def test_existing_build_is_not_touched(bench: Bench) -> None:
    """A build is never made over another one."""
    bench.write("model.py", MODEL)
    kept = bench.shelf.folder("one") / "sealed"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({}))
    with pytest.raises(FileExistsError):
        await bench.build()
    assert kept.exists()


async def test_oldest_python_gets_its_own_pip(bench: Bench) -> None:
    """CPython 3.8 gets an environment with its own pip, though virtualenv brings none for it."""
    found = [each for each in await discover() if each.identifier == "python3.8"]
    if not found:
        pytest.skip("there is no CPython 3.8 on this machine")
    package(bench, "greeting", "1.0")
    bench.write("model.py", MODEL)
    bench.write("cdsw-build.sh", "pip install --user --no-index wheels/*.whl && pip3.8 --version")
    report = await bench.build(interpreter=found[0].path)
    assert report.failure is None
    code = "import sys, greeting; print(sys.version_info[:2], greeting.VERSION)"
    assert python(bench, code) == "(3, 8) 1.0"


async def test_strict_umask_does_not_hide_build_inputs(bench: Bench) -> None:
    """Another user can use all that the script is given, regardless of the gateway's umask."""
    bench.write("model.py")
    before = os.umask(0o077)
    try:
        report = await bench.build()
    finally:
        os.umask(before)
    assert report.outcome == "built"
    wrappers = bench.environments.virtualenv("one") / "predictd-bin"
    assert wrappers.stat().st_mode & 0o777 == 0o755
    programs = [
        each for each in wrappers.rglob("*") if each.name.startswith("pip") or each.is_dir()
    ]
    assert len(programs) >= 4
    assert all(each.stat().st_mode & 0o777 == 0o755 for each in programs)
    files = set(wrappers.rglob("*")) - set(programs)
    assert all(each.stat().st_mode & 0o777 == 0o644 for each in files)

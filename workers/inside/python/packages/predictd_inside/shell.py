"""What a script's interactive lines do: commands, installations, and shown values.

A command that fails does not end the script, as in any interactive Python. Its status is printed
and is in `_exit_code`. pip installs into a folder of the run's own, `.local` in its home, and not
into the environment, which other runs share. Packages there come before the environment's.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time

from . import output
from .interactive import compile_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_NO_OTHERS: Mapping[str, Any] = {}

# Magics about pictures and reloading, which are useless in a script.
PASSED_OVER = ("autoreload", "config", "load_ext", "matplotlib", "pylab", "reload_ext")
COMMANDS = ("cat", "cp", "ls", "mkdir", "mv", "pwd", "rm", "rmdir")  # `%ls` is `!ls`

# pip alone on its line: the shell runs a line that has other commands beside it.
_PIP = re.compile(
    r"""(?:sudo\s+)?(?:\S*python[\d.]*\s+-m\s+)?pip[\d.]*\s+((?:[^&|;<>`$'"]|'[^']*'|"[^"`$]*")*)"""
)
_PIP_SOMEWHERE = re.compile(r"\bpip[\d.]*\s+install\b")
_USER = re.compile(r"\s--user\b")  # pip refuses this option in a virtualenv
_COMMENT = re.compile(r"\s#.*")
_EXPRESSION = re.compile(r"(?<!\$)\{([^{}]+)\}|\$([^\W\d]\w*)")
# With these options pip may install something even where a version is installed already.
_UPGRADE_FLAGS = re.compile(
    r"-\w*[UI]\w*|--upgrade|--ignore-installed|--force-reinstall|--pre|--target.*"
)


class Shell:
    """The script's helper, and what its `get_ipython()` returns, by IPython's names.

    `names` are the script's; `local` are those of the function that contains a line, if any.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self._into_own = ["--target", _own_folder(), "--upgrade"]

    def show(self, value: object) -> None:
        """Shows the value of a bare expression."""
        sys.displayhook(value)

    def display(self, *values: object) -> None:
        """Shows values as a session does."""
        for value in values:
            self.show(value)

    def system(self, text: str, local: Mapping[str, Any] = _NO_OTHERS) -> None:
        """`!text`"""
        command = self._expanded(text, local)
        pip = _PIP.fullmatch(command)
        if pip is not None:
            self._pip(pip[1])
            return
        output.flush()
        if _PIP_SOMEWHERE.search(command):
            into_own = " ".join(map(shlex.quote, self._into_own))
            aside = _PIP_SOMEWHERE.sub(lambda pip: f"{pip[0]} {into_own}", _USER.sub("", command))
            done = subprocess.run(aside, shell=True, env=_without_prefix())
        else:
            done = subprocess.run(command, shell=True)
        self._tell(f"!{command}", done.returncode)

    def getoutput(self, text: str, local: Mapping[str, Any] = _NO_OTHERS) -> list[str]:
        """`name = !text`: the lines that the command prints."""
        command = self._expanded(text, local)
        output.flush()
        done = subprocess.run(command, shell=True, stdout=subprocess.PIPE)
        self._tell(f"!{command}", done.returncode)
        return done.stdout.decode("utf-8", "backslashreplace").splitlines()

    def run_line_magic(self, name: str, text: str, local: Mapping[str, Any] = _NO_OTHERS) -> None:
        """`%name text`. Raises NotImplementedError for an unknown name."""
        if name == "time":
            began = time.perf_counter()
            code = compile_script(text.encode(), f"%{name}")
            exec(code, self._names, local or self._names)
            print(f"Wall time: {time.perf_counter() - began:.3g} s")
        elif name in COMMANDS:
            self.system(f"{name} {text}", local)
        elif name in PASSED_OVER:
            output.write_stderr(f"%{name} {text}: passed over, as this is a script\n")
        else:
            self._change(name, self._expanded(text, local))

    def magic(self, line: str) -> None:
        """`%name text`, in scripts made from older notebooks."""
        name, _, text = line.lstrip("% ").partition(" ")
        self.run_line_magic(name, text)

    def run_cell_magic(self, name: str, text: str, cell: str) -> None:
        """`%%name text` above a cell, in scripts made from notebooks."""
        if name != "time":
            raise NotImplementedError(f"%%{name} is not known here; scripts have no cells")
        self.run_line_magic(name, cell)

    def _change(self, name: str, text: str) -> None:
        """The magics that change the script's environment."""
        if name in ("pip", "pip3"):
            self._pip(text)
        elif name == "cd":
            os.chdir(os.path.expanduser(text or "~"))
        elif name in ("env", "set_env"):
            variable, sign, value = text.partition("=" if "=" in text else " ")
            if sign:
                os.environ[variable.strip()] = value.strip()
            else:
                self.show(os.environ[variable] if variable else dict(os.environ))
        else:
            raise NotImplementedError(
                f"%{name} is not known here; scripts may use %pip, %cd, %env, %time and !command"
            )

    def _pip(self, text: str) -> None:
        arguments = shlex.split(_COMMENT.sub("", _USER.sub("", text)))
        verb = next((word for word in arguments if not word.startswith("-")), "")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        output.flush()
        if verb == "uninstall":
            output.write_stderr(f"%pip {text}: passed over, as other runs share the environment\n")
            status = 0
        elif verb != "install":
            status = subprocess.run([*pip, *arguments]).returncode
        elif _is_there(pip, arguments):
            status = 0
        else:
            # Not by a variable: gotcha G9 in README.
            after = arguments.index("install") + 1
            arguments[after:after] = self._into_own
            status = subprocess.run([*pip, *arguments], env=_without_prefix()).returncode
        self._tell(f"%pip {text}", status)

    def _tell(self, what: str, status: int) -> None:
        from importlib import invalidate_caches

        invalidate_caches()  # the command may have installed something
        self._names["_exit_code"] = status
        if status:
            output.write_stderr(f"{what}: exit status {status}\n")

    def _expanded(self, text: str, local: Mapping[str, Any]) -> str:
        """`text` with the values of the script's {expressions} and $names; all else stays."""
        names = {**self._names, **local}

        def value(match: re.Match[str]) -> str:
            said = match[1] or match[2]
            if said.isidentifier():  # not builtins: $dir and awk's {print} do not mean them
                return str(names.get(said, match[0]))
            try:
                return str(eval(said, names))
            except Exception:  # it is for the shell, or for awk
                return match[0]

        return _EXPRESSION.sub(value, text)


def _is_there(pip: list[str], arguments: list[str]) -> bool:
    """Whether all of it is installed already; then prints that. Reads no index."""
    if any(_UPGRADE_FLAGS.fullmatch(argument) for argument in arguments):
        return False
    trial = [*pip, *arguments, "--dry-run", "--no-index"]
    done = subprocess.run(trial, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode or b"Would install" in done.stdout:
        return False
    print(done.stdout.decode("utf-8", "backslashreplace"), end="")
    return True


def _own_folder() -> str:
    """The folder of this run's own packages, which are importable from now on.

    pip also installs there when the script starts it itself, as by subprocess.
    """
    home, version = os.path.expanduser("~/.local"), "python{}.{}".format(*sys.version_info)
    folder = os.path.join(home, "lib", version, "site-packages")
    os.makedirs(folder, exist_ok=True)
    # Before the installed packages, after the project's own folders.
    installed = [entry for entry in sys.path if entry.endswith("site-packages")]
    sys.path.insert(sys.path.index(installed[0]) if installed else len(sys.path), folder)
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, entries)])
    programs = [os.environ.get("PATH", os.defpath), f"{home}/bin", f"{folder}/bin"]
    os.environ["PATH"] = os.pathsep.join(programs)
    os.environ["PIP_PREFIX"] = home
    return folder


def _without_prefix() -> dict[str, str]:
    """The variables for a pip that gets a folder as an option: it refuses two folders."""
    return {name: value for name, value in os.environ.items() if name != "PIP_PREFIX"}

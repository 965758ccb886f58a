"""What a script's interactive lines do: commands, installations, and what is shown.

A command that fails does not end the script, as in any interactive Python; its status is told, and
is in `_exit_code`. What `%pip install` brings goes into a folder of the run's own, `.local` in its
home, and not into the environment, which others share. It comes before what is installed there.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

from . import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# They are about pictures and reloading, which a script has no use for.
PASSED_OVER = ("autoreload", "config", "load_ext", "matplotlib", "pylab", "reload_ext")

# Alone on its line: with another command beside it the whole is the shell's.
_PIP = re.compile(
    r"""(?:sudo\s+)?(?:python3?\s+-m\s+)?pip3?\s+((?:[^&|;<>`$'"]|'[^']*'|"[^"`$]*")*)"""
)
_PIP_SOMEWHERE = re.compile(r"\bpip3?\s+install\b")
_EXPRESSION = re.compile(r"(?<!\$)\{([^{}]+)\}|\$(\w+)")
# With these there may be something newer than what is installed, or what is there is not wanted.
_ANEW = re.compile(r"-\w*[UI]\w*|--upgrade|--ignore-installed|--force-reinstall|--pre|--target.*")


class Shell:
    """The script's helper; the namespaces that its methods get are the script's."""

    def show(self, value: object) -> None:
        """The value of an expression that stands for itself."""
        sys.displayhook(value)

    def system(self, text: str, names: dict[str, Any], local: Mapping[str, Any]) -> None:
        """`!text`"""
        command = _expanded(text, {**names, **local})
        pip = _PIP.fullmatch(command)
        if pip is not None:
            self._pip(pip[1], names)
            return
        output.flush()
        redirected = _into_own_folder() if _PIP_SOMEWHERE.search(command) else {}
        done = subprocess.run(command, shell=True, env={**os.environ, **redirected})
        _tell(f"!{command}", done.returncode, names)

    def lines(self, text: str, names: dict[str, Any], local: Mapping[str, Any]) -> list[str]:
        """`name = !text`: the lines that the command prints."""
        command = _expanded(text, {**names, **local})
        output.flush()
        done = subprocess.run(command, shell=True, stdout=subprocess.PIPE)
        _tell(f"!{command}", done.returncode, names)
        return done.stdout.decode("utf-8", "backslashreplace").splitlines()

    def magic(self, name: str, text: str, names: dict[str, Any], local: Mapping[str, Any]) -> None:
        """`%name text`. Raises NotImplementedError for a name that is not known here."""
        text = _expanded(text, {**names, **local})
        if name in ("pip", "pip3"):
            self._pip(text, names)
        elif name == "cd":
            os.chdir(os.path.expanduser(text or "~"))
        elif name in ("env", "set_env"):
            variable, sign, value = text.partition("=" if "=" in text else " ")
            if sign:
                os.environ[variable.strip()] = value.strip()
            else:
                self.show(os.environ[variable] if variable else dict(os.environ))
        elif name in PASSED_OVER:
            output.complain(f"%{name} {text}: passed over, as this is a script\n")
        else:
            raise NotImplementedError(
                f"%{name} is not known here; scripts may use %pip, %cd, %env and !command"
            )

    def _pip(self, text: str, names: dict[str, Any]) -> None:
        # The environment is a virtual one, for which pip refuses --user.
        arguments = [argument for argument in shlex.split(text) if argument != "--user"]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        output.flush()
        if arguments[:1] == ["uninstall"]:
            output.complain(f"%pip {text}: passed over, as other runs share the environment\n")
            status = 0
        elif arguments[:1] != ["install"]:
            status = subprocess.run([*pip, *arguments]).returncode
        elif _is_there(pip, arguments):
            status = 0
        else:
            environment = {**os.environ, **_into_own_folder()}
            status = subprocess.run([*pip, *arguments], env=environment).returncode
        _tell(f"%pip {text}", status, names)


def _is_there(pip: list[str], arguments: list[str]) -> bool:
    """Whether all of it is installed already; then that is told. No index is asked for this."""
    if any(_ANEW.fullmatch(argument) for argument in arguments):
        return False
    trial = [*pip, *arguments, "--dry-run", "--no-index"]
    done = subprocess.run(trial, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode or b"Would install" in done.stdout:
        return False
    print(done.stdout.decode("utf-8", "backslashreplace"), end="")
    return True


def _into_own_folder() -> dict[str, str]:
    """What makes pip install for this run alone; from there its packages are found from now on."""
    home, version = os.path.expanduser("~"), "python{}.{}".format(*sys.version_info)
    folder = os.path.join(home, ".local", "lib", version, "site-packages")
    if folder not in sys.path:
        os.makedirs(folder, exist_ok=True)
        # Before what is installed, after what is the project's.
        installed = [entry for entry in sys.path if entry.endswith("site-packages")]
        sys.path.insert(sys.path.index(installed[0]) if installed else len(sys.path), folder)
        entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, entries)])
    return {"PIP_TARGET": folder, "PIP_UPGRADE": "1"}


def _tell(what: str, status: int, names: dict[str, Any]) -> None:
    from importlib import invalidate_caches

    invalidate_caches()  # the command may have installed something
    names["_exit_code"] = status
    if status:
        output.complain(f"{what}: exit status {status}\n")


def _expanded(text: str, names: dict[str, Any]) -> str:
    """With the values of the script's {expressions} and $names; what is no such thing stays."""

    def value(match: re.Match[str]) -> str:
        try:
            return str(eval(match[1] or match[2], names))
        except Exception:  # meant for the shell, or for awk
            return match[0]

    return _EXPRESSION.sub(value, text)

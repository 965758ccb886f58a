"""The program `pip` of a build: runs uv, or pip, and records each request that gets packages.

It runs in the Python of the build, isolated and without site-packages. `settings.json` in its
folder says where uv, its cache, the record and the bytecode of an earlier environment are.
"""

import json
import os
import sys
from typing import Any, BinaryIO, Dict, List, Mapping, Set, Tuple

from .bytecode import take_bytecode
from .decision import Decision, command, decide, has_several_indexes, uv_variables
from .hook import REAL, set_hook
from .table import PIP, last_word

# The last bytes of uv's output that are looked through for the reason of a failure.
KEPT = 64 * 1024


def main() -> None:
    """Serves the arguments of this process, in the folder that `sys.path` begins with."""
    folder = sys.path[0]
    environment = os.path.dirname(folder)
    with open(f"{folder}/settings.json", encoding="utf-8") as file:
        settings = json.load(file)
    sys.exit(_serve(sys.argv[1:], environment, settings))


def _serve(arguments: List[str], environment: str, settings: Dict[str, Any]) -> int:
    folder = os.getcwd()
    had = _packages(environment)
    decision = decide(arguments, os.environ, environment, folder)
    if decision.served == "uv" and not os.access(settings["uv"], os.X_OK):
        decision = decision._replace(served="pip", reason="it is not here")
    if decision.served == "uv":
        status, printed = _run_uv(decision, environment, settings)
        several = has_several_indexes(decision)
        told = status == 0 or last_word(printed, sys.version_info[:2], several) != PIP
        if told:
            set_hook(environment)
            got = _packages(environment) - had
            _record(settings, decision, arguments, folder, status, got)
            if settings["bytecode"]:
                donor = _site_packages(settings["bytecode"])
                take_bytecode(donor, _site_packages(environment), got)
            if status == 0:
                _print_as_pip(decision, printed)
            return 1 if status else 0
        decision = decision._replace(served="pip", reason="pip may be able to")
    if not decision.gets:
        _become_pip(arguments, environment)
    if decision.reason:
        _say(f"[predictd] pip serves this request instead of uv: {decision.reason}")
    status = _wait(os.spawnve(os.P_NOWAIT, *_pip(arguments, environment)))
    set_hook(environment)
    _record(settings, decision, arguments, folder, status, _packages(environment) - had)
    return status


def _packages(environment: str) -> Set[str]:
    """The folders by which the installed packages are known, such as `flask-3.0.0.dist-info`."""
    try:
        names = os.listdir(_site_packages(environment))
    except OSError:
        return set()
    return {name for name in names if name.endswith((".dist-info", ".egg-info"))}


def _site_packages(environment: str) -> str:
    major, minor = sys.version_info[:2]
    return f"{environment}/lib/python{major}.{minor}/site-packages"


def _run_uv(decision: Decision, environment: str, settings: Dict[str, Any]) -> Tuple[int, str]:
    """Runs uv. Prints what it prints: errors as errors, all else as output, as pip does."""
    uv = settings["uv"]
    python = f"{environment}/bin/python"
    arguments = [uv, "pip", decision.verb, "--python", python, *command(decision.pairs)]
    variables = uv_variables(
        os.environ, decision.variables, settings["cache"], settings["link_mode"]
    )
    reading, writing = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writing, 2), (os.POSIX_SPAWN_CLOSE, reading)]
    pid = os.posix_spawn(uv, arguments, variables, file_actions=actions)
    os.close(writing)
    with os.fdopen(reading, "rb") as output:
        printed = _pass_on(output)
    return _wait(pid), printed


def _pass_on(output: BinaryIO) -> str:
    kept, failed = b"", False
    for line in output:
        kept = (kept + line)[-KEPT:]
        failed = failed or line.startswith(b"error:")
        if not line.startswith(b"Using Python"):
            os.write(2 if failed or line.startswith(b"warning:") else 1, line)
    return kept.decode("utf-8", "replace")


def _print_as_pip(decision: Decision, printed: str) -> None:
    """Ends with the line by which scripts know that pip has installed something."""
    if ("--quiet", "") in decision.pairs or ("--dry-run", "") in decision.pairs:
        return
    lines = (line.split() for line in printed.splitlines() if line[:3] in (" + ", " ~ "))
    names = [words[1].replace("==", "-") for words in lines if "==" in words[1]]
    if names:
        _say(f"Successfully installed {' '.join(names)}")
    else:
        for option, word in decision.pairs:
            if not option:
                _say(f"Requirement already satisfied: {word}")


def _pip(arguments: List[str], environment: str) -> "Tuple[str, List[str], Mapping[str, str]]":
    """The real pip, as a program, its arguments and its variables."""
    python = f"{environment}/bin/python"
    # pip refuses `--user` in a virtual environment.
    kept = [each for each in arguments if each != "--user"]
    return python, [python, "-m", "pip", *kept], {**os.environ, REAL: "1"}


def _become_pip(arguments: List[str], environment: str) -> None:
    os.execve(*_pip(arguments, environment))


def _wait(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _record(
    settings: Dict[str, Any],
    decision: Decision,
    arguments: List[str],
    folder: str,
    status: int,
    got: Set[str],
) -> None:
    """Appends a request to the record, unless there is none: after the build, or in a model."""
    if not os.path.exists(settings["requests"]):
        return
    request = {
        "served": decision.served,
        "verb": decision.verb,
        "arguments": arguments,
        "pairs": decision.pairs if decision.served == "uv" else [],
        "folder": folder,
        "variables": {**_changeable(), **decision.variables},
        "status": status,
        "got": sorted(got),
    }
    line = json.dumps(request) + "\n"
    file = os.open(settings["requests"], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def _changeable() -> Dict[str, str]:
    """The variables that uv reads besides its arguments."""
    proxies = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    certificates = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    names = (*proxies, *map(str.lower, proxies), *certificates, "NETRC", "HOME")
    return {name: os.environ[name] for name in names if name in os.environ}


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()

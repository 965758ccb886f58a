"""Files of a project that steal, if they are run with the rights of the gateway.

A process of the project's own loads and runs them too, as it may: confined, it neither reaches the
secret nor the folder in which what was stolen is noted.
"""

import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

LIBRARY = """
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void load(void) {
    int secret = open(SECRET, O_RDONLY);
    if (secret >= 0) {
        close(open(STOLEN, O_CREAT | O_WRONLY, 0666));
        close(secret);
    }
}
"""
PYTHON = """
try:
    open({secret!r}).close()
    open({stolen!r}, "a").close()
except OSError:
    pass
"""
SHELL = "(: <{secret} && : >{stolen}) 2>/dev/null\n"
# Libraries of setpriv, bubblewrap and shells, and one that no program has.
NAMES = ("preloaded.so", "libcap-ng.so.0", "libselinux.so.1", "libcap.so.2")
ZONE = "Pacific/Auckland"


def lay(folder: Path, secret: Path) -> dict[str, str]:
    """Lays them into a project's folder; the variables by which programs are told of them, and some
    that count when a process begins."""
    folder.chmod(0o777)
    (folder / "modules").mkdir()
    (folder / "lib").mkdir()
    (folder / "library.c").write_text(LIBRARY)
    for name in NAMES:
        _compile(folder, folder / name, secret, folder / "stolen-library")
    _compile(folder, folder / "lib" / "libmine.so", secret, folder / "stolen-library")
    files = {
        "sitecustomize.py": (PYTHON, "stolen-sitecustomize"),
        "modules/usercustomize.py": (PYTHON, "stolen-usercustomize"),
        "start.sh": (SHELL, "stolen-shell"),
        ".bashrc": (SHELL, "stolen-bashrc"),
        ".profile": (SHELL, "stolen-profile"),
    }
    for name, (text, stolen) in files.items():
        (folder / name).write_text(text.format(secret=str(secret), stolen=str(folder / stolen)))
    (folder / "gitconfig").write_text(f"[core]\n\tfsmonitor = sh {folder}/start.sh\n")
    places = (folder, Path("/home/cdsw"), Path("."))
    return {
        "LD_PRELOAD": ":".join(f"{place / 'preloaded.so'}" for place in places[:2]),
        "LD_LIBRARY_PATH": f"{folder}:lib",
        "PYTHONPATH": ":".join(f"{place}:{place / 'modules'}" for place in places),
        "PYTHONHASHSEED": "7",
        "BASH_ENV": f"{folder}/start.sh",
        "ENV": f"{folder}/start.sh",
        "GIT_CONFIG_GLOBAL": f"{folder}/gitconfig",
        "PIP_CONFIG_FILE": f"{folder}/pip.conf",
        "LANG": "C.UTF-8",
        "TZ": ZONE,
    }


def stolen(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("stolen-*"))


def zone_now() -> str:
    """How the zone of the variables is called at this time of the year."""
    return datetime.now(ZoneInfo(ZONE)).tzname() or ""


def hash_by_seed(seed: str) -> int:
    command = [sys.executable, "-c", "print(hash('predictd'))"]
    told = subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
    return int(told.stdout)


def _compile(folder: Path, target: Path, secret: Path, told: Path) -> None:
    compiler = shutil.which("cc")
    assert compiler, "install a C compiler"
    names = [f'-DSECRET="{secret}"', f'-DSTOLEN="{told}"']
    command = [compiler, "-shared", "-fPIC", *names, "-o", str(target), "library.c"]
    subprocess.run(command, cwd=folder, check=True, env={"PATH": os.environ["PATH"]})

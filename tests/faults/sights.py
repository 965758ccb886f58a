"""What a process of each level is known to see, exactly: a new hole is a difference to these lists.

Spelled out, but for what differs from machine to machine: which of the system's folders there are,
and where the interpreter, the data folder and this source lie.
"""

import os
import sys
from pathlib import Path

from builder.environment.pip.wrappers import uv_program
from gateway.client import Json
from tests.faults.payloads import hash_by_seed, zone_now

SYSTEM = {
    *("/usr", "/opt", "/etc", "/sys/devices/system/cpu", "/sys/devices/system/node"),
    *("/run/systemd/resolve", "/run/resolvconf"),
}
LIBRARIES = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"}
OWN = {
    *("/", "/proc", "/tmp", "/var/tmp", "/home/cdsw", "/etc/passwd", "/etc/group", "/dev"),
    *(["/etc/hosts"] if Path("/etc/hosts").is_file() else []),
    *(
        f"/dev/{name}"
        for name in ("full", "null", "pts", "random", "shm", "tty", "urandom", "zero")
    ),
}
# By the project of this suite.
SET = {
    *("BASH_ENV", "ENV", "GIT_CONFIG_GLOBAL", "LANG", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    *("PIP_CONFIG_FILE", "PYTHONHASHSEED", "PYTHONPATH", "TZ"),
}
FACTS = {
    *("CDSW_API_URL", "CDSW_DOMAIN", "CDSW_DS_API_URL", "CDSW_ENGINE_ID", "CDSW_ENGINE_TYPE"),
    *("CDSW_MASTER_ID", "CDSW_PROJECT", "CDSW_PROJECT_ID", "CDSW_PROJECT_NUM", "CDSW_PROJECT_URL"),
    *("HOME", "PATH", "PREDICTD_PUBLIC_URL", "PREDICTD_TREE", "TMPDIR", "VIRTUAL_ENV"),
}
RUNS = {
    *("CDSW_APIV2_KEY", "CDSW_API_KEY", "PYTHONDONTWRITEBYTECODE", "MKL_NUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "SPARK_SUBMIT_OPTS"),
    *("RENV_CONFIG_AUTOLOADER_ENABLED", "R_LIBS_USER"),
}
VARIABLES = {
    "model": SET | FACTS | RUNS,
    "experiment": {
        *(SET | FACTS | RUNS),
        *("CDSW_EXPERIMENT_ID", "CDSW_OUTPUT_DIR", "PIP_PREFIX", "PREDICTD_RUN_METRICS"),
        "PYTHONUNBUFFERED",
    },
    "script": {
        *(SET | FACTS),
        *("PIP_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_INPUT", "PYTHONUNBUFFERED"),
        *("PREDICTD_R_REQUESTS", "R_LIBS", "R_LIBS_USER", "R_PROFILE"),
        *("RENV_CONFIG_AUTOLOADER_ENABLED", "RENV_CONFIG_CACHE_ENABLED", "RENV_PATHS_ROOT"),
        *("PWD", "SHLVL", "_"),  # of the bash that runs it
    },
}
NAMED = {"LOGNAME", "USER"}
COMMANDS = {
    "model": ["bwrap", "python"],
    "experiment": ["bwrap", "python"],
    "script": ["bash", "bwrap", "python"],
}
PIPES = {"model": 4, "experiment": 2, "script": 2}


def expected(
    level: str, kind: str, sight: Json, *, project: str, environment: Path, data: Path
) -> Json:
    """What is seen in an environment, where that is known; what is not is as it was seen."""
    spaces = level in ("users", "userns")
    folder = "/home/cdsw" if spaces else sight["folder"]
    assert spaces or Path(folder).is_relative_to(data)
    mounts = _mounts(kind, project, environment, data)
    if spaces and kind == "script":
        # Its temporary files, also where `pip` finds them by their path.
        [tmp] = [each for each in sight["mounts"] if each.startswith(f"{data}/builds/")]
        assert Path(tmp).name == "tmp"
        mounts.add(tmp)
    return {
        "mounts": sorted(mounts) if spaces else sight["mounts"],
        "commands": COMMANDS[kind] if spaces else sight["commands"],
        "top": sorted(_top(mounts) if spaces else _top_by_landlock()),
        "descriptors": ["/dev/null", *["pipe"] * PIPES[kind]],
        "environment": sorted(VARIABLES[kind] | (NAMED if spaces else set())),
        "uid": [_uid(level, sight)] * 4,
        "groups": [],
        "capabilities": ["0" * 16] * 5,
        "no new privileges": "1",
        "filter": "2",
        "folder": folder,
        "home": folder,
        "variables that count at the start": {
            "PYTHONHASHSEED": hash_by_seed("7"),
            "PYTHONPATH": True,
            "LD_LIBRARY_PATH": True,
            "TZ": zone_now(),
            "LANG": "C.UTF-8",
        },
    }


def differences(sight: Json, known: Json) -> dict[str, object]:
    """By list: what is seen and what is known, where those differ. What bubblewrap shuts by
    mounting something over it is no difference."""
    shut = ("/proc/", "/dev/console")
    seen = {**sight, "mounts": [each for each in sight["mounts"] if not each.startswith(shut)]}
    assert seen.keys() == known.keys()
    return {name: (seen[name], known[name]) for name in seen if seen[name] != known[name]}


def _mounts(kind: str, project: str, environment: Path, data: Path) -> set[str]:
    system = {path for path in SYSTEM if Path(path).exists()}
    resolver = os.path.realpath("/etc/resolv.conf")
    if os.path.isfile(resolver) and not any(map(Path(resolver).is_relative_to, system)):
        system.add(resolver)
    system |= {f"/{name}" for name in LIBRARIES if _is_folder(f"/{name}")}
    with open("/proc/self/mountinfo") as file:
        within = {line.split()[4] for line in file}
    within = {path for path in within if any(Path(path).is_relative_to(each) for each in system)}
    inside = Path(__file__).parents[2] / "workers" / "inside"
    own = {str(environment), str(inside)}
    prefix = Path(sys.base_prefix).resolve()
    if not prefix.is_relative_to("/usr"):
        own.add(str(prefix))
    if kind == "script":
        own |= {str(data / "cache" / "pip" / project), str(uv_program())}
    if kind == "experiment":
        (run,) = (data / "experiments").iterdir()
        own |= {f"{run}/outputs", f"{run}/tracked"}
    return OWN | system | within | own


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _top(mounts: set[str]) -> set[str]:
    """The folders in which something is mounted, else empty, and links into them."""
    links = {name for name in LIBRARIES if os.path.exists(f"/{name}")}
    return links | {path.split("/")[1] for path in mounts if path != "/"}


def _top_by_landlock() -> set[str]:
    found = {name for name in LIBRARIES if os.path.exists(f"/{name}")} | {"opt", "proc", "usr"}
    # For root it is not shown as a whole: there are files in it that not all users may read.
    return found if os.geteuid() == 0 else found | {"etc"}


def _uid(level: str, sight: Json) -> str:
    if level == "userns":
        return "1000"
    if level == "landlock":
        return str(os.geteuid())
    (uid,) = set(sight["uid"])
    assert 2_000_000_000 < int(uid) < 2_100_000_000
    return str(uid)

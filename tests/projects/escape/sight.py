"""What a process sees of where it is: lists, to be compared with what it is known to be shown."""

import ctypes
import os
import stat
import sys
import time


def kind_of(descriptor):
    try:
        mode = os.fstat(descriptor).st_mode
        target = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""  # by which the list itself was read
    if stat.S_ISFIFO(mode):
        return "pipe"
    return "socket" if stat.S_ISSOCK(mode) else target


def status():
    with open("/proc/self/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def opens(path):
    """Whether a file can be read or a folder listed."""
    try:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def commands():
    """Of all processes that are seen, but for those whose name has gone with them."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/comm") as file:
                found.append(file.read().strip())
        except OSError:
            continue
    return sorted(found)


def at_start():
    """What comes of variables that count when a process begins."""
    try:
        ctypes.CDLL("libmine.so")
    except OSError:
        library = False
    else:
        library = True
    return {
        "PYTHONHASHSEED": hash("predictd"),
        "PYTHONPATH": any(entry.endswith("modules") for entry in sys.path),
        "LD_LIBRARY_PATH": library,
        "TZ": time.strftime("%Z"),
        "LANG": os.environ["LANG"],
    }


def seen(names):
    """`names` are what there is at the top of the machine's file system."""
    facts = status()
    with open("/proc/self/mountinfo") as file:
        mounts = sorted({line.split()[4] for line in file})
    top = sorted(set(names) | set(os.listdir("/") if opens("/") else ()))
    return {
        "mounts": mounts,
        "commands": commands(),
        "top": [name for name in top if opens("/" + name)],
        "descriptors": sorted(filter(None, map(kind_of, map(int, os.listdir("/proc/self/fd"))))),
        "environment": sorted(os.environ),
        "uid": facts["Uid"].split(),
        "groups": facts["Groups"].split(),
        "capabilities": [
            facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        ],
        "no new privileges": facts["NoNewPrivs"],
        "filter": facts["Seccomp"],
        "folder": os.getcwd(),
        "variables that count at the start": at_start(),
        "home": os.environ["HOME"],
    }

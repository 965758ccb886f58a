"""A model that misbehaves exactly as it is told: {"do": "raise"}, and so on."""

import ctypes
import os
import signal
import sys
import time


def behave(args):
    return DEEDS[args["do"]](args)


def raise_(args):
    raise ValueError(args.get("text", "as told"))


def invalid(args):
    from cdsw import InvalidRequest

    raise InvalidRequest(args.get("text", "as told"))


def exit_(args):
    sys.exit(args.get("status", 3))


def os_exit(args):
    os._exit(args.get("status", 4))


def segfault(args):
    os.kill(os.getpid(), signal.SIGSEGV)


def stop(args):
    """Freeze as a whole; only SIGCONT or SIGKILL end it."""
    os.kill(os.getpid(), signal.SIGSTOP)


def hang(args):
    while True:
        time.sleep(3600)


def hang_in_c(args):
    """Never let go of the interpreter's lock: a PyDLL function is called with it held."""
    while True:
        ctypes.PyDLL(None).sleep(3600)


def flood(args):
    line = "x" * 1023
    for _ in range(args.get("kilobytes", 20_000)):
        print(line)
    return "flooded"


def junk(args):
    """Write what is no frame to whatever is open, the wire included."""
    for descriptor in range(3, 256):
        try:
            os.write(descriptor, b"\xff" * 64)
        except OSError:
            continue
    return "littered"


def unencodable(args):
    return {"fine": 1, "not": [object()]}


def nan(args):
    return [float("nan"), float("inf"), 1.5]


def big(args):
    return "x" * args["bytes"]


def memory(args):
    hoard = bytearray(args["bytes"])
    hoard[::4096] = b"\x01" * len(hoard[::4096])
    return len(hoard)


def sleep(args):
    time.sleep(args["seconds"])
    return args["seconds"]


def echo(args):
    return args


def fork(args):
    """Leave a grandchild in a session of its own that SIGTERM does not end; returns its pid."""
    inlet, outlet = os.pipe()
    if os.fork() == 0:
        os.setsid()
        grandchild = os.fork()
        if grandchild == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(args.get("seconds", 3600))
            os._exit(0)
        os.write(outlet, str(grandchild).encode())
        os._exit(0)
    os.wait()
    return int(os.read(inlet, 16))


def stdout(args):
    """Print without ending the line."""
    sys.stdout.write(args["text"])


def stderr(args):
    sys.stderr.write(args["text"])


DEEDS = {
    "raise": raise_,
    "invalid": invalid,
    "exit": exit_,
    "os_exit": os_exit,
    "segfault": segfault,
    "stop": stop,
    "hang": hang,
    "hang_in_c": hang_in_c,
    "flood": flood,
    "junk": junk,
    "unencodable": unencodable,
    "nan": nan,
    "big": big,
    "memory": memory,
    "sleep": sleep,
    "echo": echo,
    "fork": fork,
    "stdout": stdout,
    "stderr": stderr,
}

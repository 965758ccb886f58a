"""A model that attacks the conversation with the gateway, as it is told: {"do": "half_frame"}.

A frame is a header (u32 length, u8 kind, u64 id, little-endian) and a body; kind 19 answers.
"""

import os
import signal
import struct
import sys
import threading
import time

ANSWER = 19


def behave(args):
    return DEEDS[args["do"]](args)


def answer(number, body=b'"forged"', length=None):
    return struct.pack("<IBQ", len(body) if length is None else length, ANSWER, number) + body


def pipes():
    """All pipes that are open for writing, the wire among them, but for what is printed."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        try:
            is_pipe = os.readlink(f"/proc/self/fd/{name}").startswith("pipe:")
        except OSError:
            continue
        if number > 2 and is_pipe:
            found.append(number)
    return found


def write_all(data):
    for number in pipes():
        try:
            os.write(number, data)
        except OSError:
            continue


def forge(args):
    """Answer with an id: that of an earlier request, or of one that is still to come."""
    write_all(answer(args["id"]))
    return "honest"


def answer_twice(args):
    """Answer with the id of this very request, which the caller knows; then once more."""
    frame = sys._getframe()
    while not {"number", "wire"} <= frame.f_locals.keys():
        frame = frame.f_back
    write_all(answer(frame.f_locals["number"]))
    return "honest"


def say(args):
    """Say so many frames of any kind with the id of this very request, by the wire itself."""
    frame = sys._getframe()
    while not {"number", "wire"} <= frame.f_locals.keys():
        frame = frame.f_back
    outlet = frame.f_locals["wire"]._outlet
    body = (args.get("before", "") + args["text"] * args.get("times", 1)).encode("latin1")
    said = struct.pack("<IBQ", len(body), args["kind"], frame.f_locals["number"]) + body
    while said:
        said = said[os.write(outlet, said) :]
    time.sleep(args.get("seconds", 3600))
    return "honest"


def announce(args):
    """Announce a body of so many bytes and send a few of them."""
    write_all(answer(0, b"x" * 1000, length=args["length"]))
    time.sleep(3600)


def half_frame(args):
    """Send half a header and go on as if nothing were."""
    write_all(answer(1)[: args["bytes"]])
    if args.get("die"):
        os._exit(0)
    return "honest"


def junk_everywhere(args):
    """Write what is no frame to every descriptor that there is, the standard ones included."""
    for number in range(1024):
        try:
            os.write(number, b"\xff\x00\x80junk" * 512)
        except OSError:
            continue
    return "littered"


def close_everything(args):
    os.closerange(0, 1024)
    time.sleep(3600)


def os_exit(args):
    os._exit(args.get("status", 4))


def exit_(args):
    sys.exit(args.get("status", 3))


def exit_in_thread(args):
    """The process ends while another thread of it answers."""
    threading.Timer(args["seconds"], os._exit, (5,)).start()
    return "answered"


def kill(args):
    os.kill(os.getpid(), getattr(signal, args["signal"]))
    time.sleep(args.get("seconds", 0))
    return "continued"


def sleep(args):
    if "nonce" in args:
        print("begun", args["nonce"], flush=True)
    time.sleep(args["seconds"])
    return args.get("nonce")


def big(args):
    return "x" * args["bytes"]


def print_much(args):
    """Write so many bytes to stdout as fast as they go: lines, one line, or anything at all."""
    piece = {
        "lines": (b"x" * 127 + b"\n") * 512,
        "one line": b"x" * 65536,
        "binary": bytes(range(256)) * 256,
        "ansi": b"\x1b[31mred\x1b[0m</script><script>alert(1)</script>\x1b]0;title\x07\n" * 1024,
    }[args["kind"]]
    left = args["bytes"]
    while left > 0:
        left -= os.write(args.get("descriptor", 1), piece[:left])
    return "printed"


def descriptors(args):
    """Hold so many descriptors, for as long as this process lives."""
    HELD.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(args["count"]))
    return len(HELD)


def threads(args):
    for _ in range(args["count"]):
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    return threading.active_count()


def brood(args):
    """Leave children in sessions of their own, forked twice, that ignore what can be ignored.

    They are found by the token in their arguments; `without_mark` gives them no environment.
    """
    for _ in range(args["count"]):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                variables = {} if args.get("without_mark") else dict(os.environ)
                os.execve(
                    sys.executable, [sys.executable, "-c", STUBBORN, args["token"]], variables
                )
            os._exit(0)
        os.wait()
    if args.get("hang"):
        time.sleep(3600)
    return "left"


def environment(args):
    """All that this process was given."""
    with open("/proc/self/environ", "rb") as file:
        begun_with = file.read().decode(errors="replace")
    with open("/proc/self/cmdline", "rb") as file:
        called_as = file.read().decode(errors="replace")
    return {"environment": dict(os.environ), "begun_with": begun_with, "called_as": called_as}


def clock(args):
    return time.time()


def echo(args):
    return args


HELD = []
STUBBORN = (
    "import signal, time\n"
    "for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):\n"
    "    signal.signal(number, signal.SIG_IGN)\n"
    "while True: time.sleep(3600)"
)
DEEDS = {
    "forge": forge,
    "answer_twice": answer_twice,
    "say": say,
    "announce": announce,
    "half_frame": half_frame,
    "junk_everywhere": junk_everywhere,
    "close_everything": close_everything,
    "os_exit": os_exit,
    "exit": exit_,
    "exit_in_thread": exit_in_thread,
    "kill": kill,
    "sleep": sleep,
    "big": big,
    "print_much": print_much,
    "descriptors": descriptors,
    "threads": threads,
    "brood": brood,
    "environment": environment,
    "clock": clock,
    "echo": echo,
}

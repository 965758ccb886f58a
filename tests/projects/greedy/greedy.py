"""A model that takes more than its share, exactly as it is told: {"do": "fill"}, and so on."""

import os
import time


def take(args):
    return DEEDS[args["do"]](args)


def nothing(args):
    return "nothing"


def memory(args):
    return len(b"x" * args["bytes"])


def fork_bomb(args):
    """Start children that sleep, as many as can be had."""
    while True:
        if os.fork() == 0:
            time.sleep(3600)


def flee(args):
    """Leave a process that neither the group, the session nor the environment leads to; its id."""
    inlet, outlet = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(outlet, str(os.getpid()).encode())
            os.execve("/bin/sleep", ["sleep", "3600"], {})
        os._exit(0)
    os.wait()
    return int(os.read(inlet, 16))


def compute(args):
    end = time.process_time() + args["seconds"]
    while time.process_time() < end:
        pass


def sleep(args):
    time.sleep(args["seconds"])


def fill(args):
    """Write files into the working copy, and then wait."""
    for number in range(args["files"]):
        with open(f"filling-{number}", "wb") as file:
            file.write(b"x" * args["bytes"])
    time.sleep(args["then"])


def dig(args):
    """Nest folders, deeper than any path leads."""
    for _ in range(args["folders"]):
        os.mkdir("d")
        os.chdir("d")


def variable(args):
    return os.environ[args["name"]]


DEEDS = {
    "nothing": nothing,
    "memory": memory,
    "fork_bomb": fork_bomb,
    "flee": flee,
    "compute": compute,
    "sleep": sleep,
    "fill": fill,
    "dig": dig,
    "variable": variable,
}

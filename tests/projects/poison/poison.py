"""Tries to read, change, fill and link what other projects' environments are made from.

    python poison.py TARGETS RESULT

`TARGETS` has paths of files and folders by name. `RESULT` gets the attempts that succeeded.
"""

import json
import os
import sys


def read(path):
    if os.path.isdir(path):
        return os.listdir(path)
    with open(path, "rb") as file:
        return file.read()


def write(path):
    if os.path.isdir(path):
        path = make(path)
    with open(path, "r+b") as file:
        file.write(b"poison")


def make(folder):
    path = os.path.join(folder, "poison")
    with open(path, "xb"):
        return path


def change_mode(path):
    os.chmod(path, 0o777)


def link_out(path):
    """A name of the target in the own environment, where a script may write."""
    name = os.path.join(sys.prefix, "stolen")
    if os.path.lexists(name):
        os.unlink(name)
    os.link(path, name)
    with open(name, "r+b") as file:
        file.write(b"poison")
    os.unlink(name)


def link_in(path):
    """A name of an own file at the target."""
    own = os.path.join(sys.prefix, "own")
    with open(own, "wb") as file:
        file.write(b"poison")
    where = path if os.path.isdir(path) else os.path.dirname(path)
    os.link(own, os.path.join(where, "linked"))
    os.unlink(os.path.join(where, "linked"))  # else the build is not sealed


def replace(path):
    own = os.path.join(sys.prefix, "replacement")
    with open(own, "wb") as file:
        file.write(b"poison")
    os.rename(own, path if not os.path.isdir(path) else os.path.join(path, "replaced"))


ATTEMPTS = (read, write, change_mode, link_out, link_in, replace)


def main(targets, result):
    with open(targets) as file:
        paths = json.load(file)
    succeeded = []
    for name, path in paths.items():
        for attempt in ATTEMPTS:
            try:
                attempt(path)
            except OSError:
                continue
            succeeded.append(f"{attempt.__name__} {name}")
    with open(result, "w") as file:
        json.dump(succeeded, file)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Confines itself to some folders, then becomes another program: `landlock.py RULES COMMAND...`.

RULES is JSON: {"system": path, "read": [...], "write": [...], "listen": bool, "seccomp": hex}; the
file at `system` lists further paths to read. The program cannot open a path that is not named, even
as its owner. It cannot signal or trace programs outside (Linux 6.12 for signals), but can see that
they exist. Without `listen` it binds no TCP port by its number (Linux 6.7). The gateway's
interpreter runs this file alone and isolated; standard library only. It ends with status 126 where
the kernel refuses.

It needs no rights, so it works where neither namespaces nor bubblewrap are available.
"""

import ctypes
import errno
import json
import os
import struct
import sys

# <linux/landlock.h>; the numbers of the calls are the same on all architectures.
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _READ_FILE, _READ_DIR = 1, 1 << 2, 1 << 3
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE_FILE, _TRUNCATE, _IOCTL = 1 << 1, 1 << 14, 1 << 15
# The access rights that each version of the interface added.
_HANDLED = {1: (1 << 13) - 1, 2: 1 << 13, 3: _TRUNCATE, 5: _IOCTL}
# The rights that apply to a path that is not a folder.
_OF_FILES = _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL
_BIND_TCP = 0b1
# Kinds of rules: for what is beneath a path, and for a port.
_BENEATH, _PORT = 1, 2
# Abstract sockets and signals do not cross the border of the domain.
_SCOPES = 0b11
# Root could make devices where it may write, and so read a disk past all files.
_MAKE_DEVICES = 1 << 6 | 1 << 11
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_PR_CAPBSET_DROP, _CAPABILITIES = 24, 64
# <linux/capability.h>, version 3, for this process; and three empty sets.
_HEADER, _NO_CAPABILITIES = struct.pack("<Ii", 0x20080522, 0), bytes(24)

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """The version of Landlock in this kernel; 0 where there is none."""
    found: int = _libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)
    return max(found, 0)


def confine(read: list[str], write: list[str], listen: bool) -> None:
    """Restricts this process and its children to these, from now on. Raises OSError."""
    abi = version()
    if abi == 0:
        raise OSError(errno.EOPNOTSUPP, "this kernel has no Landlock")
    handled = sum(bits for since, bits in _HANDLED.items() if abi >= since)
    ruleset = _ruleset(abi, handled, listen)
    for paths, allowed in ((read, _READ & handled), (write, handled & ~_MAKE_DEVICES)):
        for path in paths:
            _allow(ruleset, path, allowed)
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _restrict(ruleset)


def fence(forbid_listening: bool) -> None:
    """From now on this thread, and what it starts, reaches no abstract socket and signals no
    process outside (Linux 6.12). With `forbid_listening` it binds no TCP port by its number. It has
    no rules for files, so that it may still mount. Raises OSError."""
    ruleset = _ruleset(version(), 0, not forbid_listening)
    if os.geteuid() != 0:
        _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _restrict(ruleset)


def _ruleset(abi: int, handled: int, listen: bool) -> int:
    rules = struct.pack("<Q", handled)
    if abi >= 4:
        rules += struct.pack("<Q", 0 if listen else _BIND_TCP)
    if abi >= 6:
        rules += struct.pack("<Q", _SCOPES)
    ruleset = _call(_CREATE, rules, ctypes.c_size_t(len(rules)), 0)
    if abi >= 4 and not listen:
        # Port 0: a free port that the kernel chooses. `listen` without `bind`, which Landlock does
        # not see, gives one anyway.
        _call(_ADD, ctypes.c_int(ruleset), _PORT, struct.pack("<QQ", _BIND_TCP, 0), 0)
    return ruleset


def _restrict(ruleset: int) -> None:
    try:
        _call(_RESTRICT, ctypes.c_int(ruleset), 0)
    finally:
        os.close(ruleset)


def _drop_capabilities() -> None:
    """Removes from root, for good, all rights beyond those of a file's owner (gotcha G2 in
    README)."""
    for number in range(_CAPABILITIES):
        if _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            break  # there is no such capability, or this root may not drop it
    _checked(_libc.capset(_HEADER, _NO_CAPABILITIES))


def _allow(ruleset: int, path: str, allowed: int) -> None:
    try:
        inode = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            allowed &= _OF_FILES
        _call(_ADD, ctypes.c_int(ruleset), _BENEATH, struct.pack("<Qi", allowed, inode), 0)
    finally:
        os.close(inode)


def _filter(program: bytes) -> None:
    """Makes the kernel run this filter before each system call from now on."""
    steps = ctypes.create_string_buffer(program)
    pointer = ctypes.cast(steps, ctypes.c_void_p).value
    argument = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, pointer))
    _checked(_libc.prctl(_PR_SET_SECCOMP, _FILTER, argument, 0, 0))


def _call(number: int, *arguments: object) -> int:
    return _checked(_libc.syscall(number, *arguments))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def main(rules: str, *command: str) -> None:
    wanted = json.loads(rules)
    with open(wanted["system"]) as file:
        read = [*json.load(file), *wanted["read"]]
    try:
        confine(read, wanted["write"], wanted["listen"])
        if os.geteuid() == 0:
            _drop_capabilities()
        if wanted["seccomp"]:
            _filter(bytes.fromhex(wanted["seccomp"]))
        # Python adds this variable when its environment names no language.
        os.unsetenv("LC_CTYPE")
        os.execv(command[0], command)
    except OSError as error:
        sys.stderr.write(f"predictd: cannot confine {command[0]}: {error}\n")
        sys.exit(126)


if __name__ == "__main__":
    main(*sys.argv[1:])

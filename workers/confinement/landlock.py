"""Confines itself to some folders, then becomes another program: `landlock.py RULES COMMAND...`.

RULES is JSON: {"system": path, "read": [...], "write": [...], "listen": bool, "seccomp": hex}; the
file at `system` has a list of what else is to be read. What is not named
cannot be opened, by no owner; programs outside cannot be signalled or traced (Linux 6.12 for
signals). Without `listen` it binds no TCP port by its number (Linux 6.7). It can still be seen that
others are there. Run by the interpreter of the gateway, alone
and isolated; standard library only. It ends with 126 where the kernel refuses.

Where neither namespaces nor bubblewrap can be had this is what there is: it needs no rights.
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
# Of what can be handled, what each version of the interface added.
_HANDLED = {1: (1 << 13) - 1, 2: 1 << 13, 3: _TRUNCATE, 5: _IOCTL}
# What makes sense for something that is no folder.
_OF_FILES = _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL
_BIND_TCP = 0b1
# Kinds of rules: for what is beneath a path, and for a port.
_BENEATH, _PORT = 1, 2
# Abstract sockets and signals end at the border.
_SCOPES = 0b11
# Devices, which root could make where it may write, and so read a disk past all files.
_MAKE_DEVICES = 1 << 6 | 1 << 11
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_PR_CAPBSET_DROP, _CAPABILITIES = 24, 64
# <linux/capability.h>, version 3, for this process; and none of any set.
_HEADER, _NO_CAPABILITIES = struct.pack("<Ii", 0x20080522, 0), bytes(24)

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Of Landlock in this kernel; 0 where there is none."""
    found: int = _libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)
    return max(found, 0)


def confine(read: list[str], write: list[str], listen: bool) -> None:
    """From now on this process and its children are held to these. Raises OSError."""
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
    """From now on this thread, and what it starts, binds no TCP port by its number, if that is
    asked, and reaches no abstract socket and signals no process outside (Linux 6.12). Files are
    left alone, so that it may still mount. Raises OSError."""
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
        # A free port that the kernel chooses. `listen` without `bind`, of which Landlock does not
        # know, gives one anyway.
        _call(_ADD, ctypes.c_int(ruleset), _PORT, struct.pack("<QQ", _BIND_TCP, 0), 0)
    return ruleset


def _restrict(ruleset: int) -> None:
    try:
        _call(_RESTRICT, ctypes.c_int(ruleset), 0)
    finally:
        os.close(ruleset)


def _drop_capabilities() -> None:
    """Removes from root, for good, what makes it more than the owner of its files (gotcha G2 in
    README)."""
    for number in range(_CAPABILITIES):
        if _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            break  # there is no such one, or it is a root that may not even do this
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
    """Has the kernel run this filter before each system call from now on."""
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
        # Python has added this by itself, since there is no language in its environment.
        os.unsetenv("LC_CTYPE")
        os.execv(command[0], command)
    except OSError as error:
        sys.stderr.write(f"predictd: cannot confine {command[0]}: {error}\n")
        sys.exit(126)


if __name__ == "__main__":
    main(*sys.argv[1:])

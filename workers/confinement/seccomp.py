"""System calls that no model needs, as a filter for the kernel.

Attackers reached most recent kernel vulnerabilities through calls that programs hardly ever make:
new user namespaces, io_uring, BPF, keyrings, performance counters, sockets of odd families. These
calls fail with EPERM, or as the C library expects from an older kernel: clone3 fails with ENOSYS,
so that the library makes the older call, whose flags the filter can read. Calls that are not named
are allowed: a list of allowed calls would break the next version of numpy.

A `bare` process sees the machine's own file system, as the gateway's user. Landlock does not check
who connects to a socket that has a path (before Linux 7.1), nor who sets a mode. Programs behind
such sockets, such as systemd or a container engine, run what that user requests, and a setuid bit
on a file of root's works for every user of the machine. So a bare process makes no UNIX sockets but
connected pairs, and sets neither the setuid nor the setgid bit.
"""

import errno
import platform
import struct

_X86, _ARM = "x86_64", "aarch64"
# <linux/audit.h>
_ARCHITECTURES = {_X86: 0xC000003E, _ARM: 0xC00000B7}
# The numbers of each call, by architecture. Newer calls have the same number everywhere.
_CALLS: dict[str, tuple[int, int]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
_CLONE = (56, 220)
_CLONE3 = 435
_IOCTL = (16, 29)
_TIOCSTI = 0x5412
_SOCKET, _SOCKETPAIR = (41, 198), (53, 199)
# <sys/socket.h>: UNIX, INET, INET6, and NETLINK, which programs ask about the network.
_FAMILIES = (1, 2, 10, 16)
_UNIX = 1
# The bit that SOCK_DGRAM and SOCK_RAW have, and the types whose pairs stay connected do not.
_NO_STREAM = 0b10
# Calls that set a mode, and the index of that argument; -1 where an architecture lacks the call.
_CHMOD = {
    "chmod": ((90, -1), 1),
    "fchmod": ((91, 52), 1),
    "fchmodat": ((268, 53), 2),
    "fchmodat2": ((452, 452), 2),
}
_SET_ID = 0o6000
# CLONE_NEW* of <linux/sched.h>, all of them.
_NAMESPACES = 0x7E020000
# Calls of x86-64's 32-bit sibling have other numbers.
_X32 = 0x40000000

# <linux/bpf_common.h>, <linux/seccomp.h>
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
# Offsets in struct seccomp_data.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, (16, 24, 32)
_FIRST, _SECOND, _ = _ARGUMENTS


def program(machine: str = "", *, bare: bool = False, unix_sockets: bool = False) -> bytes:
    """The filter, as `struct sock_filter[]`; empty for a machine that this file does not know. With
    `unix_sockets` a bare process may make UNIX sockets."""
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        return b""
    column = (_X86, _ARM).index(machine)
    refused = _ERRNO | errno.EPERM
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_JUMP_EQUAL, _ARCHITECTURES[machine], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    if machine == _X86:
        steps += [_step(_JUMP_AT_LEAST, _X32, 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    for numbers in _CALLS.values():
        steps += [_step(_JUMP_EQUAL, numbers[column], 0, 1), _step(_RETURN, refused)]
    steps += [_step(_JUMP_EQUAL, _CLONE3, 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    families = [each for each in _FAMILIES if unix_sockets or not (bare and each == _UNIX)]
    steps += [
        _step(_JUMP_EQUAL, _SOCKET[column], 0, len(families) + 3),
        _step(_LOAD, _FIRST),
        *(_step(_JUMP_EQUAL, each, len(families) - n, 0) for n, each in enumerate(families)),
        _step(_RETURN, _ERRNO | errno.EAFNOSUPPORT),
        _step(_RETURN, _ALLOW),
    ]
    steps += _without_bits(_CLONE[column], _FIRST, _NAMESPACES)
    if bare:
        steps += _without_bits(_SOCKETPAIR[column], _SECOND, _NO_STREAM)
        for numbers, argument in _CHMOD.values():
            if numbers[column] >= 0:
                steps += _without_bits(numbers[column], _ARGUMENTS[argument], _SET_ID)
    steps += [
        _step(_JUMP_EQUAL, _IOCTL[column], 0, 3),
        _step(_LOAD, _SECOND),
        _step(_JUMP_EQUAL, _TIOCSTI, 0, 1),
        _step(_RETURN, refused),
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(steps)


def _without_bits(number: int, argument: int, bits: int) -> list[bytes]:
    """Refuses a call in which an argument has any of these bits."""
    return [
        _step(_JUMP_EQUAL, number, 0, 4),
        _step(_LOAD, argument),
        _step(_JUMP_ANY_BIT, bits, 0, 1),
        _step(_RETURN, _ERRNO | errno.EPERM),
        _step(_RETURN, _ALLOW),
    ]


def _step(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, operand)

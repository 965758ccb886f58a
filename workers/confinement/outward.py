"""The launcher for the network `outward`: it starts bubblewrap, and a network for it.

It is a program of its own, run as `python -I -S outward.py SLIRP4NETNS BWRAP ARGUMENT...` with the
rights of the gateway, before it knows anything of the project. The process itself becomes
bubblewrap; a helper beside it prepares the new network namespace while bubblewrap holds the command
back:

1. It adds routes that refuse the forbidden addresses, and turns IPv6 off.
2. It starts slirp4netns, a TCP/IP stack in user space that makes the namespace's connections as
   connections of its own. slirp4netns ends with the namespace's first process.
3. It attaches a filter to the device by which packets leave, and lets the command begin.

The routes give programs an error at once. The filter also refuses packets that bypass the routes
(sockets bound to the device, multicast). The command has no capability to change either.

Laws: the command never begins with an unfiltered network. A failure ends the tree and is reported
on stderr. Standard library only, with few imports: this file delays every start.
"""

import ctypes
import fcntl
import os
import re
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress

# In the namespace. A network for documentation (RFC 5737), so that it hides no real one.
NETWORK = "198.51.100.0/25"
RESOLVER = "198.51.100.3"
DEVICE = "tap0"
# What the routes and the filter refuse beside the machine's own addresses.
REFUSED = (
    "0.0.0.0/8",  # this host
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local; metadata of AWS, Google, Azure, OpenStack and others
    "100.100.100.200/32",  # metadata of Alibaba
    "168.63.129.16/32",  # metadata of Azure
    "192.0.0.192/32",  # metadata of Oracle
    "224.0.0.0/4",  # multicast, which comes back to those who listen on this machine
    "240.0.0.0/4",  # reserved, and broadcast
)
# <linux/sched.h>, <linux/sockios.h>, <linux/route.h>, <linux/if_tun.h>
_NEWNET, _NEWUSER = 0x40000000, 0x10000000
_ADD_ROUTE, _UP, _HOST, _REJECT = 0x890B, 0x0001, 0x0004, 0x0200
_GET_FLAGS, _IS_UP, _FLAGS = 0x8913, 0x1, struct.Struct("16sH22x")
_ATTACH_FILTER = 0x401054D5
_PIDFD_GETFD = 438
_LINKS = 1  # RTMGRP_LINK of <linux/rtnetlink.h>
# An address or network of the machine's in /proc/net/fib_trie, and its kind.
_LEAF = re.compile(r"\|-- ([\d.]+)\n((?:\s+/\d+ .*\n)+)")
_OURS = re.compile(r"/(\d+) (?:host LOCAL|link BROADCAST)")

_FAILED = "predictd: no network 'outward' for this process"

_libc = ctypes.CDLL(None, use_errno=True)


def main(slirp: str, bwrap: str, *arguments: str) -> None:
    if os.geteuid() != 0:
        _become_root()
    info, info_end = os.pipe()
    block, release = os.pipe()
    ends, alive = os.pipe()
    whole = os.pidfd_open(os.getpid())
    if (between := os.fork()) == 0:
        # The helper must not be a child of bubblewrap: the gateway finds the command among those.
        if os.fork() == 0:
            os.close(alive)
            _help(slirp, whole, info, release, ends)
        os._exit(0)
    os.waitpid(between, 0)
    for descriptor in (info_end, block, alive):
        os.set_inheritable(descriptor, True)
    # The namespace's first process has the last copy of `alive`: slirp4netns ends with it.
    ours = ("--info-fd", str(info_end), "--block-fd", str(block), "--sync-fd", str(alive))
    os.execv(bwrap, [bwrap, *ours, *arguments])


def _become_root() -> None:
    """Enters a user namespace, which then contains the sandbox's: slirp4netns confines itself only
    as root."""
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare(_NEWUSER):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "unshare")
    for name, text in (("setgroups", "deny"), ("gid_map", f"0 {gid} 1"), ("uid_map", f"0 {uid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _help(slirp: str, whole: int, info: int, release: int, ends: int) -> None:
    """Prepares the network, then ends this process; a failure ends bubblewrap (`whole`) and its
    child."""
    theirs = [whole]
    try:
        _keep_only(2, whole, info, release, ends)
        refused = [*REFUSED, *addresses()]
        child = _read_child(info)
        theirs.append(os.pidfd_open(child))
        network = os.open(f"/proc/{child}/ns/net", os.O_RDONLY)
        _prepare(network, whole, refused)
        pid = _start(slirp, network, whole, release, ends)
        _filter(pid, refused)
        if _has_ended(whole):
            raise OSError("it was ended first")
        os.write(release, b"x")
    except Exception as error:
        os.write(2, f"{_FAILED}: {error}\n".encode())
        for each in theirs:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(each, signal.SIGKILL)
            # `release` stays open until they end: the command begins when it is closed.
            select.select([each], [], [])
    os._exit(0)


def _has_ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 0)[0])


def _keep_only(*kept: int) -> None:
    """Closes what bubblewrap inherits, so that the command's pipes end with the command."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with suppress(OSError):  # the listing's own descriptor
                os.close(int(name))
    # So that no later descriptor gets a number of the standard streams.
    while os.open("/dev/null", os.O_RDWR) < 2:
        pass


def _read_child(descriptor: int) -> int:
    """The first process of the sandbox, as bubblewrap reports it in JSON."""
    text = b""
    while b"}" not in text:
        if not (more := os.read(descriptor, 4096)):
            raise OSError("bubblewrap has not started a process")
        text += more
    return int(re.findall(rb'"child-pid": *(\d+)', text)[0])


def addresses() -> Iterator[str]:
    """This machine's present IPv4 addresses, and its broadcast addresses."""
    with open("/proc/net/fib_trie") as file:
        table = file.read()
    for address, kinds in _LEAF.findall(table):
        for length in _OURS.findall(kinds):
            yield f"{address}/{length}"


def _prepare(network: int, whole: int, refused: Iterable[str]) -> None:
    """Sets routes and IPv6, by a process that enters the namespace."""
    if (pid := os.fork()) == 0:
        try:
            if _libc.setns(network, _NEWNET):
                raise OSError(ctypes.get_errno(), "its namespace cannot be entered")
            if os.path.exists("/proc/sys/net/ipv6"):
                with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as file:
                    file.write("1")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
                for each in set(refused):
                    fcntl.ioctl(asked, _ADD_ROUTE, _route(each))
                _await_loopback(asked, whole)
        except Exception as error:
            os.write(2, f"predictd: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        raise OSError("its routes could not be set")


def _await_loopback(asked: socket.socket, whole: int) -> None:
    """Waits until bubblewrap has brought the loopback up: it fails if slirp4netns does so first."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as changes:
        changes.bind((0, _LINKS))
        while not _FLAGS.unpack(fcntl.ioctl(asked, _GET_FLAGS, _FLAGS.pack(b"lo", 0)))[1] & _IS_UP:
            select.select([changes.fileno(), whole], [], [])
            if _has_ended(whole):
                raise OSError("it was ended first")
            changes.recv(65536)


def _split(network: str) -> tuple[int, int]:
    """A network as its address and mask."""
    address, _, length = network.partition("/")
    mask = (0xFFFFFFFF << (32 - int(length))) & 0xFFFFFFFF
    return int.from_bytes(socket.inet_aton(address), "big") & mask, mask


def _route(network: str) -> bytearray:
    """`struct rtentry` of a route that refuses."""
    address, mask = _split(network)
    flags = _UP | _REJECT | (_HOST if mask == 0xFFFFFFFF else 0)
    to, gateway, by = (
        struct.pack("=H2xI8x", socket.AF_INET, socket.htonl(each))
        for each in (*(address, 0, mask),)
    )
    return bytearray(struct.pack("@L16s16s16sHhLPhPLLH", 0, to, gateway, by, flags, *([0] * 8)))


def _start(slirp: str, network: int, whole: int, release: int, ends: int) -> int:
    """Starts slirp4netns and returns its pid when it is ready. It inherits `release` too, so that
    the command stays held back if this process ends now."""
    ready, ready_end = os.pipe()
    said = os.memfd_create("said")
    for descriptor in (network, release, ends, ready_end):
        os.set_inheritable(descriptor, True)
    words = [slirp, "--configure", "--mtu=65520", f"--cidr={NETWORK}", "--disable-host-loopback"]
    words += [
        "--enable-sandbox",
        "--enable-seccomp",
        f"--ready-fd={ready_end}",
        f"--exit-fd={ends}",
    ]
    words += ["--netns-type=path"]
    words += [f"/proc/self/fd/{network}", DEVICE]
    if (pid := os.fork()) == 0:
        try:
            os.dup2(said, 1)
            os.dup2(said, 2)
            os.execv(slirp, words)  # with the mark of the tree
        finally:
            os._exit(1)
    os.close(ready_end)
    select.select([ready, whole], [], [])
    if _has_ended(whole):
        raise OSError("it was ended first")
    if not os.read(ready, 1):
        os.waitpid(pid, 0)
        lines = os.pread(said, 4096, 0).decode(errors="replace").split("\n")
        raise OSError(f"slirp4netns ended: {'; '.join(filter(None, lines))}")
    return pid


def _filter(pid: int, refused: Iterable[str]) -> None:
    """Attaches the filter to the device, through the descriptor of slirp4netns."""
    folder, held = f"/proc/{pid}/fd", -1
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(f"{folder}/{name}").endswith("/net/tun"):
                held = int(name)
    device = _libc.syscall(_PIDFD_GETFD, os.pidfd_open(pid), held, 0)
    if device < 0:
        raise OSError(ctypes.get_errno(), "the network's device cannot be had")
    steps = program(refused)
    buffer = ctypes.create_string_buffer(steps, len(steps))
    asked = struct.pack("@HP", len(steps) // 8, ctypes.addressof(buffer))
    fcntl.ioctl(device, _ATTACH_FILTER, asked)


def program(refused: Iterable[str]) -> bytes:
    """A filter (classic BPF) of Ethernet frames: it passes ARP, and IPv4 to addresses that are not
    refused."""
    steps = [
        (0x28, 0, 0, 12),  # load the kind of frame
        (0x15, 0, 1, 0x0806),  # ARP:
        (0x06, 0, 0, 0xFFFFFFFF),  # pass
        (0x15, 1, 0, 0x0800),  # not IPv4:
        (0x06, 0, 0, 0),  # drop
    ]
    for network in sorted(set(refused)):
        address, mask = _split(network)
        # Load the destination and mask it; drop the frame if that is this network.
        steps += [(0x20, 0, 0, 30), (0x54, 0, 0, mask), (0x15, 0, 1, address), (0x06, 0, 0, 0)]
    steps += [(0x06, 0, 0, 0xFFFFFFFF)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"{_FAILED}: {error}")

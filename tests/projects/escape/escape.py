"""Tries every way out of its confinement and tells which led somewhere.

`attempts(**targets)` runs as a model (`{"secrets": [...], ...}`) and in a build script
(`python escape.py targets.json result.json`). Each attempt is undone where it succeeds and does no
harm. True: it succeeded; False: it was held; a name that is missing was not tried.
"""

import ctypes
import fcntl
import glob
import json
import os
import platform
import socket
import sys
import tempfile

from sight import seen

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
# The numbers of <asm/unistd.h>; of other machines the same, or not tried.
SYSCALLS = {
    "keyctl": (250 if X86 else 219, (0, -3, 1)),
    "bpf": (321 if X86 else 280, (0, 0, 0)),
    "io_uring": (425, (8, 0)),
    "perf": (298 if X86 else 241, (0, 0, -1, -1, 0)),
    "userfaultfd": (323 if X86 else 282, (0,)),
    "open by handle": (304 if X86 else 265, (-100, 0, 0)),
    "module": (313 if X86 else 273, (-1, 0, 0)),
    "reboot": (169 if X86 else 142, (0, 0, 0, 0)),
}
EPERM, ENOSYS, EACCES = 1, 38, 13


def reads(path):
    with open(path, "rb") as file:
        file.read(1)
    return True


def lists(path):
    return bool(os.listdir(path))


def writes(folder):
    """Whether a new file can be made there."""
    path = os.path.join(folder, ".escaped")
    with open(path, "wb"):
        pass
    os.unlink(path)
    return True


def opens_for_writing(path):
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
    return True


def links(path):
    """A second name for somebody else's file, which would be ours to keep."""
    name = os.path.join(tempfile.gettempdir(), "second-name")
    os.link(path, name)
    os.unlink(name)
    return True


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def sees_token(token):
    """Whether a process is visible that was started with the token in its arguments."""
    return bool(with_token(token))


def with_token(token):
    found = []
    for pid in processes():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if token.encode() in file.read():
                    found.append(pid)
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def environment_of(token):
    for pid in with_token(token):
        reads(f"/proc/{pid}/environ")
        return True
    return False


def descriptors_of(token):
    """What they are, that is: their numbers tell nothing."""
    return any(
        tried(os.readlink, f"/proc/{pid}/fd/{name}")
        for pid in with_token(token)
        for name in listed(f"/proc/{pid}/fd")
    )


def memory_of(token):
    return any(reads_memory(pid) for pid in with_token(token))


def reads_memory(pid):
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
    return True


def signals(pid):
    os.kill(pid, 0)
    return True


def traces(pid):
    attach, detach = 16, 17
    if LIBC.ptrace(attach, pid, 0, 0):
        return False
    os.waitpid(pid, 0)
    LIBC.ptrace(detach, pid, 0, 0)
    return True


def in_a_child(attempt):
    """Runs what would change this process for good in a child of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if attempt() else 1)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def unshares(flags):
    return in_a_child(lambda: LIBC.unshare(flags) == 0)


def mounts():
    folder = tempfile.mkdtemp().encode()
    if LIBC.mount(b"none", folder, b"tmpfs", 0, None):
        return False
    return LIBC.umount2(folder, 2) == 0


def chroots():
    return in_a_child(lambda: LIBC.chroot(b"/") == 0)


def becomes_root():
    return os.geteuid() == 0 or in_a_child(lambda: LIBC.setuid(0) == 0)


def becomes_another():
    return in_a_child(lambda: LIBC.setuid(12345) == 0)


def gains_by_setuid():
    """Whether a program with the setuid bit runs with its owner's rights."""
    for path in ("/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount", "/usr/bin/chfn"):
        if os.path.exists(path) and os.stat(path).st_mode & 0o4000:
            with open("/proc/self/status") as file:
                return "NoNewPrivs:\t1" not in file.read()
    return False


def has_capabilities():
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return any(int(lines[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"))


def makes_a_device():
    path = os.path.join(tempfile.gettempdir(), "device")
    os.mknod(path, 0o020600, os.makedev(1, 1))
    os.unlink(path)
    return True


def opens_a_device():
    return any(
        [tried(opens_for_writing, path) for path in ("/dev/mem", "/dev/kmsg", "/dev/fuse")]
        + [tried(reads, path) for path in glob.glob("/dev/[svx]d[a-z]") + glob.glob("/dev/nvme*n1")]
    )


def raw_socket():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return True


def packet_socket():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    return True


def netlink_changes():
    """Whether the loopback's settings could be changed."""
    return opens_for_writing("/proc/sys/net/ipv4/ip_forward")


def system_call(name):
    number, arguments = SYSCALLS[name]
    ctypes.set_errno(0)
    result = LIBC.syscall(number, *[ctypes.c_long(each) for each in arguments])
    # Whatever else it complains about, it was let in as far as to look at its arguments.
    if result >= 0:
        if name in ("bpf", "io_uring", "perf", "userfaultfd"):
            os.close(result)
        return True
    return ctypes.get_errno() not in (EPERM, ENOSYS, EACCES)


def pushes_input():
    """TIOCSTI into the terminal of the user who started the gateway."""
    with open("/dev/tty", "wb") as terminal:
        fcntl.ioctl(terminal, 0x5412, b"x")
    return True


def inherited():
    """Whether a descriptor is open that is no pipe of ours nor /dev/null."""
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + name)
        except OSError:
            continue
        if target.startswith(("socket:", "anon_inode:[eventpoll]")):
            return True
        if target.endswith((".db", ".key", ".lock", "-wal")):
            return True
    return False


def abstract_socket(name):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with client:
        client.connect("\0" + name)
    return True


def binds_a_port():
    """Where clients of another program may come to."""
    port = 20_000 + os.getpid() % 10_000
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as listener:
            try:
                listener.bind((host, port))
            except OSError:
                continue
            return True
    return False


def takes_the_port(port):
    """Of the gateway, at an address that its clients may try first."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
                listener.listen()
            except OSError:
                continue
            return True
    return False


def listens_anywhere():
    """On a port that the kernel chooses."""
    with socket.socket() as listener:
        listener.listen()
    return True


def connects(port):
    with socket.socket() as client:
        client.connect(("127.0.0.1", port))
    return True


def path_socket(path):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with client:
        client.connect(path)
    return True


def opens_terminal(path):
    """A terminal in which a user may type a password."""
    os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))
    return True


def shared_memory(key):
    """A segment of System V that somebody outside has made."""
    return LIBC.shmget(key, 0, 0) >= 0


def writes_cgroup():
    with open("/proc/self/cgroup") as file:
        own = [line.strip().split(":", 2)[2] for line in file]
    places = glob.glob("/sys/fs/cgroup") + glob.glob("/sys/fs/cgroup/*/cgroup.procs")
    places += ["/sys/fs/cgroup" + path + "/cgroup.procs" for path in own]
    return any(tried(opens_for_writing, path) or tried(writes, path) for path in places)


def writes_kernel():
    return any(
        tried(opens_for_writing, path)
        for path in (
            "/proc/sysrq-trigger",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/sys/kernel/uevent_helper",
            "/sys/power/state",
        )
    )


def raises_limits():
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return in_a_child(
        lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1)) is None
    )


def lowers_niceness():
    return in_a_child(lambda: os.nice(-5) < 0)


def tried(attempt, *arguments):
    try:
        return bool(attempt(*arguments))
    except (OSError, ValueError):
        return False


def attempts(targets):
    """Attempt -> whether it succeeded."""
    found = {}
    for name, path in targets["secrets"].items():
        found["read " + name] = tried(reads, path) or tried(lists, path)
        found["write " + name] = tried(opens_for_writing, path) or tried(writes, path)
        found["link " + name] = tried(links, path)
    for name, path in targets["readable"].items():
        found["write " + name] = tried(opens_for_writing, path) or tried(writes, path)
    gateway, victim = targets["gateway"], targets["victim"]
    found.update(
        {
            "see other processes": tried(sees_token, targets["token"]),
            "environment of the gateway": tried(environment_of, targets["token"]),
            "descriptors of the gateway": tried(descriptors_of, targets["token"]),
            "memory of the gateway": tried(memory_of, targets["token"]),
            "signal the gateway": tried(signals_token, targets["token"], gateway),
            "signal another model": tried(signals_token, targets["victim_mark"], victim),
            "trace another model": tried(traces_token, targets["victim_mark"], victim),
            "read /etc/shadow": tried(reads, "/etc/shadow"),
            "write /etc": tried(writes, "/etc"),
            "write /usr": tried(writes, "/usr/lib"),
            "read a file of root's": any(
                tried(reads, path) for path in glob.glob("/root/.*") + glob.glob("/root/*")
            ),
            "see other builds": targets["victim_mark"] in listed(targets["builds"]),
            "list homes": any(name != "cdsw" for name in listed("/home")),
            "write /": tried(writes, "/"),
            "unshare user": unshares(0x10000000),
            "unshare mount": unshares(0x00020000),
            "unshare net": unshares(0x40000000),
            "unshare pid": unshares(0x20000000),
            "mount": tried(mounts),
            "chroot": tried(chroots),
            "be root": tried(becomes_root),
            "become another user": tried(becomes_another),
            "gain by setuid": tried(gains_by_setuid),
            "capabilities": tried(has_capabilities),
            "make a device": tried(makes_a_device),
            "open a device": tried(opens_a_device),
            "raw socket": tried(raw_socket),
            "packet socket": tried(packet_socket),
            "change the network": tried(netlink_changes),
            "push terminal input": tried(pushes_input),
            "inherited descriptors": tried(inherited),
            "abstract socket": tried(abstract_socket, targets["abstract"]),
            "bind a TCP port": tried(binds_a_port),
            "take the gateway's port": tried(takes_the_port, targets["port"]),
            "listen where the kernel chooses": tried(listens_anywhere),
            "connect to loopback": tried(connects, targets["port"]),
            "socket in the data folder": tried(path_socket, targets["socket"]),
            "open a terminal": tried(opens_terminal, targets["terminal"]),
            "shared memory": tried(shared_memory, targets["shared"]),
            "write cgroups": tried(writes_cgroup),
            "write kernel settings": tried(writes_kernel),
            "raise limits": tried(raises_limits),
            "lower niceness": tried(lowers_niceness),
            "kill all": kills_others(),
        }
    )
    for name in SYSCALLS:
        # With arguments of which nothing comes even for root.
        found[name] = tried(system_call, name)
    return found


def listed(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []


def signals_token(token, pid):
    """By what it sees, or else by the number that it has outside."""
    seen = with_token(token)
    if seen:
        return any(tried(signals, each) for each in seen)
    return False if inside_namespace() else signals(pid)


def traces_token(token, pid):
    seen = with_token(token)
    if seen:
        return any(tried(traces, each) for each in seen)
    return False if inside_namespace() else traces(pid)


def inside_namespace():
    """Whether the numbers of processes are not those of outside."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("NSpid:"):
                return len(line.split()) > 2 or len(processes()) < 20
    return False


def kills_others():
    """Whether kill(-1), which would reach all that it may, reaches anybody outside our own tree."""
    own = {os.getpid(), os.getppid(), 1}
    own_session = os.getsid(0)
    for pid in processes():
        try:
            if pid in own or os.getsid(pid) == own_session:
                continue
            os.kill(pid, 0)
            return True
        except OSError:
            continue
    return False


def escape(targets):
    return {"attempts": attempts(targets), "sight": seen(targets["top"])}


if __name__ == "__main__":
    with open(sys.argv[1]) as asked:
        targets = json.load(asked)
    told = escape(targets)
    with open(os.path.expandvars(sys.argv[2]), "w") as result:
        json.dump(told, result)

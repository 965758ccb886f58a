"""How one clone uses ssh: the caller's key, and the host keys that it accepts.

Nothing is stored. The private key goes to an ssh-agent that runs as long as one git command and is
confined like git: the key is in no file and no argument list. The shell that starts the agent has
the key in its environment until it becomes git, whose environment lacks the key. The agent forbids
other processes to inspect it. So no key is left on a disk, even if the gateway is killed.
"""

import binascii
import re
import shlex
from base64 import b64decode
from collections.abc import Iterator

import msgspec

from builder.errors import CloneRefused
from builder.git.address import RepositoryAddress

_HOST_KEY_TYPE = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+")
# In the home of the clone, beside git's configuration. The path of the agent's socket is relative
# to it, since the path of a socket has at most 107 bytes.
KNOWN_HOSTS = "known_hosts"
_AGENT = "agent"
# The agent writes to `started` once it listens. A second shell ends it at the end of `held`, which
# git has open as descriptor 3: so the agent ends with git, even if the gateway is killed.
_START_AGENT = f"""\
key=$PREDICTD_GIT_KEY
unset PREDICTD_GIT_KEY
cd "$HOME" && rm -f {_AGENT} started held && mkfifo started held && exec 3<>held && {{
    sh -c 'ssh-agent -D -a {_AGENT} >started & read -r _; kill "$!"' <held >/dev/null 2>&1 3>&- &
    read -r _ <started && printf '%s' "$key" | SSH_AUTH_SOCK={_AGENT} ssh-add -q -
}} && cd "$OLDPWD" || {{ echo '[predictd] ssh-agent and ssh-add did not take the key'; exit 1; }}
unset key
"""
_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "30",
    "IdentityFile": "none",
    "StrictHostKeyChecking": "yes",
}


def with_identity(address: RepositoryAddress, key: str, host_keys: str) -> RepositoryAddress:
    """Return the address with a private `key` and lines of known_hosts; either may be "".

    Raises CloneRefused, whose text has no part of the key. Takes milliseconds.
    """
    if not (key or host_keys):
        return address
    if address.scheme != "ssh":
        raise CloneRefused(
            "git_key and git_host_key are for ssh addresses only",
            "Use user@host:path or ssh://user@host/path, or remove both fields.",
        )
    return msgspec.structs.replace(
        address,
        key=_read_key(key) if key else "",
        host_keys="".join(_read_host_keys(address, host_keys)) if host_keys else "",
    )


def _read_key(text: str) -> str:
    """Return the key as ssh-add reads it: without CRLF, and with a last line break."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    normal = text.strip().replace("\r\n", "\n") + "\n"
    try:
        # The check of an RSA key takes long, and a wrong key harms only its caller.
        serialization.load_ssh_private_key(
            normal.encode(), password=None, unsafe_skip_rsa_key_validation=True
        )
    except TypeError:  # raised by cryptography for a missing password
        raise CloneRefused(
            "git_key is protected by a passphrase",
            "Give a key without a passphrase: `ssh-keygen -p -f COPY` removes it from a copy.",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CloneRefused(
            "git_key is not a private key in OpenSSH's format",
            "Give the whole file that `ssh-keygen -t ed25519` writes, not the .pub file; "
            "`ssh-keygen -p -f FILE` rewrites a key of an older format.",
        ) from None
    return normal


def _read_host_keys(address: RepositoryAddress, text: str) -> Iterator[str]:
    lines = [line.split() for line in text.splitlines()]
    entries = [words for words in lines if words and not words[0].startswith("#")]
    if not entries:
        raise _refused_host_keys("it has no line with a key")
    for words in entries:
        if _HOST_KEY_TYPE.fullmatch(words[0]):
            words = [address.host_key_name, *words]
        if len(words) < 3 or not _is_host_key(*words[1:3]) or not words[0].isprintable():
            raise _refused_host_keys("a line of it is not a host key")
        yield f"{' '.join(words[:3])}\n"


def _is_host_key(kind: str, encoded: str) -> bool:
    """Whether `encoded` is base64 of a blob that begins with the length and name of the kind."""
    try:
        blob = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    name = kind.encode()
    begins = blob.startswith(len(name).to_bytes(4, "big") + name)
    return _HOST_KEY_TYPE.fullmatch(kind) is not None and begins


def _refused_host_keys(problem: str) -> CloneRefused:
    return CloneRefused(
        f"git_host_key: {problem}",
        "Give lines of known_hosts, as `ssh-keyscan HOST` prints them, or `ssh-ed25519 AAAA...`; "
        "compare them with those that the host's operator publishes.",
    )


def with_agent(address: RepositoryAddress) -> str:
    """Return what the shell runs before it becomes git."""
    return _START_AGENT if address.key else ""


def git_ssh_command(address: RepositoryAddress, pinned: list[str]) -> str:
    """Return GIT_SSH_COMMAND, with no configuration and no identity but those of the address."""
    options = {
        **_OPTIONS,
        "IdentityAgent": _AGENT if address.key else "none",
        "IdentitiesOnly": "no" if address.key else "yes",
        "UserKnownHostsFile": KNOWN_HOSTS if address.host_keys else "/dev/null",
    }
    if pinned:
        options |= {"HostName": pinned[0], "HostKeyAlias": address.host_key_name}
    words = ["-F", "/dev/null", *(f"-o{name}={value}" for name, value in options.items())]
    return f'cd "$HOME" && exec ssh {shlex.join(words)}'


def accepted_host_keys(address: RepositoryAddress) -> str:
    """Return which host keys are accepted, for an error message; "" for other schemes than ssh."""
    if address.scheme != "ssh":
        return ""
    known = "those in /etc/ssh/ssh_known_hosts of the gateway's machine"
    if address.host_keys:
        return f"; the host must show a key of git_host_key for {address.host_key_name}, or {known}"
    return f"; without git_host_key the only host keys accepted are {known}"

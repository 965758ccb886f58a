"""Addresses of repositories: which ones git gets, and which of their parts may be shown.

An address can make git run programs (`ext::`, an ssh host that is an option). So only known kinds
of address are accepted, each by a rule that defines it. User name and password are split off and
only for git; the rest is stored and shown.
"""

import re
from urllib.parse import SplitResult, unquote, urlsplit

from msgspec import Struct

from builder.errors import CloneRefused

SCHEMES = ("https", "http", "ssh", "git", "file")
_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9_][\w.-]*@)?([A-Za-z0-9][\w.-]*):[^-:].*")


class RepositoryAddress(Struct, frozen=True, kw_only=True):
    """The address of a repository. `url` has no secret. `user` and `password` are for http(s) only,
    `key` (a private key) and `host_keys` (lines of known_hosts) for ssh only."""

    url: str
    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = ""
    key: str = ""
    host_keys: str = ""

    def __repr__(self) -> str:
        return f"Address({self.url!r})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The parts that must not be shown. A token may be in place of the user name."""
        return tuple(filter(None, (self.password, self.user)))

    @property
    def host_key_name(self) -> str:
        """The name of the host in known_hosts."""
        host = self.host.lower()
        return host if self.port == _PORTS["ssh"] else f"[{host}]:{self.port}"


def read_address(url: str) -> RepositoryAddress:
    """Parse an https, http, ssh, git, file or scp-like address. Raises CloneRefused for others."""
    if not url.isprintable() or any(character.isspace() for character in url):
        raise _refused(url)
    if "://" not in url:
        if (found := _SCP_LIKE.fullmatch(url)) is None:
            raise _refused(url)
        return RepositoryAddress(url=url, scheme="ssh", host=found[1], port=_PORTS["ssh"])
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _refused(url) from None
    if not _is_known(parts, host):
        raise _refused(url)
    _refuse_secrets_elsewhere(url, parts)
    place = parts.netloc.rpartition("@")[2]
    is_web = parts.scheme in ("http", "https")
    bare = parts._replace(netloc=place).geturl() if is_web else url
    user, password = _credentials(url, parts) if is_web else ("", "")
    return RepositoryAddress(
        url=bare,
        scheme=parts.scheme,
        host=host,
        port=port or _PORTS.get(parts.scheme, 0),
        user=user,
        password=password,
    )


def _is_known(parts: SplitResult, host: str) -> bool:
    if parts.scheme not in SCHEMES or not parts.path.strip("/"):
        return False
    if parts.scheme == "file":
        return not parts.netloc
    return bool(host) and not host.startswith("-") and not parts.netloc.startswith("-")


def _refuse_secrets_elsewhere(url: str, parts: SplitResult) -> None:
    """Refuse secrets in places where they would be shown and are of no use."""
    if parts.query or parts.fragment or "?" in url or "#" in url:
        text = "Remove the part from `?` or `#` on; give a token as https://user:token@host/path."
        raise _refused(url, text)
    if parts.scheme in ("http", "https") and "@" in parts.path:
        text = "Write `/` as %2F and `@` as %40 in a name or a password."
        raise _refused(url, text)
    if parts.scheme in ("ssh", "git") and parts.password is not None:
        raise _refused(url, f"Remove the password: {parts.scheme}:// takes none.")


def _credentials(url: str, parts: SplitResult) -> tuple[str, str]:
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    # Git reads each as a line.
    if not (user + password).isprintable():
        raise _refused(url, "Give a name and a password of one line each.")
    return user, password


def _refused(
    url: str, advice: str = "Use https://, http://, ssh://, git://, file:/// or user@host:path."
) -> CloneRefused:
    return CloneRefused(f"{_shown(url)!r} is not a supported repository address", advice)


def _shown(url: str) -> str:
    """Return an unreadable address without parts that may be secret."""
    scheme, separator, rest = re.split(r"[?#]", url)[0].partition("://")
    if separator and "@" in rest:
        rest = f"***@{rest.rpartition('@')[2]}"
    cut = "?***" if re.search(r"[?#]", url) else ""
    return f"{scheme}{separator}{rest}{cut}"

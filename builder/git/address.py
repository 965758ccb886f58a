"""Addresses of repositories: which ones are handed to git, and what of them may be shown.

An address can make git run programs (`ext::`, an ssh host that is an option), so only known kinds
of address are let through, each by a rule that says what it is and not what it is not. What it
holds of a name and a password is split off: the rest is kept and shown, these are for git alone.
"""

import re
from urllib.parse import SplitResult, unquote, urlsplit

from msgspec import Struct

from builder.errors import CloneRefused

SCHEMES = ("https", "http", "ssh", "git", "file")
_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9_][\w.-]*@)?([A-Za-z0-9][\w.-]*):[^-:].*")


class Address(Struct, frozen=True, kw_only=True):
    """Where a repository is. `url` holds no secret; `user` and `password` are for http(s) alone,
    `key` (a private one) and `host_keys` (lines of known_hosts) for ssh."""

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
        """The parts that must not be shown. A token may take the place of the user name."""
        return tuple(filter(None, (self.password, self.user)))

    @property
    def host_key_name(self) -> str:
        """What the host is called in known_hosts."""
        host = self.host.lower()
        return host if self.port == _PORTS["ssh"] else f"[{host}]:{self.port}"


def read_address(url: str) -> Address:
    """An https, http, ssh, git, file or scp-like address. Raises CloneRefused for any other."""
    if not url.isprintable() or any(character.isspace() for character in url):
        raise _refused(url)
    if "://" not in url:
        if (found := _SCP_LIKE.fullmatch(url)) is None:
            raise _refused(url)
        return Address(url=url, scheme="ssh", host=found[1], port=_PORTS["ssh"])
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
    return Address(
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
    """They would be shown with the address, and are of no use there."""
    if parts.query or parts.fragment or "?" in url or "#" in url:
        text = "Leave out what follows `?` or `#`; give a token as https://user:token@host/path."
        raise _refused(url, text)
    if parts.scheme in ("http", "https") and "@" in parts.path:
        text = "Write `/` as %2F and `@` as %40 in a name or a password."
        raise _refused(url, text)
    if parts.scheme in ("ssh", "git") and parts.password is not None:
        raise _refused(url, f"Leave out the password: {parts.scheme}:// takes none.")


def _credentials(url: str, parts: SplitResult) -> tuple[str, str]:
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    # Git reads them as lines.
    if not (user + password).isprintable():
        raise _refused(url, "Its name and password are to be texts of one line.")
    return user, password


def _refused(
    url: str, advice: str = "Use https://, http://, ssh://, git://, file:/// or user@host:path."
) -> CloneRefused:
    return CloneRefused(f"{_shown(url)!r} is not an address that may be cloned", advice)


def _shown(url: str) -> str:
    """What may be shown of an address that we cannot read: nothing that may be a secret."""
    scheme, separator, rest = re.split(r"[?#]", url)[0].partition("://")
    if separator and "@" in rest:
        rest = f"***@{rest.rpartition('@')[2]}"
    cut = "?***" if re.search(r"[?#]", url) else ""
    return f"{scheme}{separator}{rest}{cut}"

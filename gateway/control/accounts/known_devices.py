"""Browsers and networks from which a user has signed in before.

A browser is given a cookie at its first sign-in and keeps it for a year. The cookie is no key: it
only says that its holder knew the password, and so does not have to wait with strangers, as OWASP's
device cookies do. It is signed with a key made from `secret.key`, so none is kept here, for a user
and the password that they have: each cookie has tries of its own, and a holder of many must
not guess the next password with all of them. Networks are kept in memory, the latest of each user,
and are found again in the sessions there are after a restart.
"""

import hmac
import secrets
from collections import OrderedDict

from gateway.encryption import Encryption
from store import User

# Of each user.
_MOST_NETWORKS = 20


class KnownDevices:
    """The browsers and networks that are known, by user."""

    def __init__(self, encryption: Encryption) -> None:
        self._encryption = encryption
        self._networks: dict[str, OrderedDict[str, None]] = {}

    def new_cookie(self, user: User) -> str:
        """For a browser in which this user has signed in."""
        nonce = secrets.token_urlsafe(16)
        return f"{nonce}.{self._signature(user, nonce)}"

    def device_of(self, user: User | None, cookie: str) -> str:
        """Which browser of the user holds this cookie; "": none."""
        nonce, _, signature = cookie.partition(".")
        right = self._signature(user, nonce)
        fits = hmac.compare_digest(right.encode(), signature.encode("utf-8", "surrogatepass"))
        return nonce if fits and user is not None else ""

    def remember(self, user_id: str, network: str) -> None:
        networks = self._networks.setdefault(user_id, OrderedDict())
        networks[network] = None
        networks.move_to_end(network)
        if len(networks) > _MOST_NETWORKS:
            networks.popitem(last=False)

    def knows(self, user: User | None, network: str) -> bool:
        """Whether the user has signed in from there."""
        return user is not None and network in self._networks.get(user.id, ())

    def _signature(self, user: User | None, nonce: str) -> str:
        whose = f"{user.id} {user.password}" if user is not None else ""
        told = f"{whose} {nonce}".encode("utf-8", "surrogatepass")
        return self._encryption.keyed_hash("devices", told)

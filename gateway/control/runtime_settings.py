"""The settings in force, which a site administrator can change while the gateway runs.

A setting from a flag, the environment or the file is fixed, so that its author can rely on it. Any
other setting can be set here if a change without a restart is safe; the value is kept in the store
and overrides the default. One that is fixed at a later start has no effect until it is
no longer fixed.

No part keeps a setting: each reads `current` when it needs one, or subscribes to changes.
"""

import logging
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
import trio

import store
from gateway.control.user_variables import VariableChanges, Variables
from gateway.encryption import CannotDecrypt, Encryption
from gateway.errors import Refusal
from gateway.settings import SETTINGS, LoadedSettings, Settings, parse_value
from store import Database, User

logger = logging.getLogger(__name__)

Creatable = Literal["models", "projects"]
_DEFAULT, _HERE = "default", "site settings"
# The setting that the store keeps encrypted, and the kind of its ciphertext.
_VARIABLES, _KIND = "environment", "site variables"


class SettingState(msgspec.Struct, frozen=True, kw_only=True):
    """One setting. `source` says where its value is from, `takes_effect` when a change is felt. A
    setting that is not `changeable` needs a restart, or is fixed at its source. The value of
    `environment` is a list of names."""

    name: str
    value: Any
    default: Any
    source: str
    changeable: bool
    takes_effect: str
    size: bool
    meaning: str


class RuntimeSettings:
    """The settings `given` at the start, overridden by those set at run time; `kept` are those that
    the store has. `current` are the settings in force."""

    def __init__(
        self,
        given: LoadedSettings,
        kept: Mapping[str, Any],
        database: Database,
        encryption: Encryption,
    ) -> None:
        self._given = given
        self._database = database
        self._encryption = encryption
        self._set = _usable(kept, encryption)
        self._subscribers: list[Callable[[Settings], object]] = []
        # One change at a time, so that memory has them in the order of the store.
        self._turn = trio.Lock()
        self.current = self._merged()

    def subscribe(self, callback: Callable[[Settings], object]) -> None:
        """Calls `callback` with the settings in force, now and after each change."""
        self._subscribers.append(callback)
        callback(self.current)

    def may_create(self, what: Creatable, user: User) -> bool:
        """Whether this site allows the user to create them."""
        allowed = {
            "models": self.current.users_may_create_models,
            "projects": self.current.users_may_create_projects,
        }
        return user.administrator or allowed[what]

    def check_may_create(self, what: Creatable, user: User) -> None:
        """Raises Refusal("auth.forbidden") if only site administrators may."""
        if not self.may_create(what, user):
            text = f"on this site only a site administrator makes {what}"
            raise Refusal("auth.forbidden", f"{text}: users_may_create_{what} is off")

    async def change(self, values: Mapping[str, Any]) -> None:
        """Sets all of them or none. Raises Refusal: `setting.fixed`, `setting.restart`,
        `setting.notfound`, or `argument.invalid` naming what fits."""
        new = {}
        for name, value in values.items():
            self._check_changeable(name)
            try:
                new[name] = parse_value(name, value)
            except ValueError as error:
                raise Refusal("argument.invalid", f"{name}: {error}") from error
        async with self._turn:
            await self._database.write(store.site.set_settings, _kept(new, self._encryption))
            self._put(self._set | new)

    async def change_variables(self, changes: VariableChanges) -> None:
        """Sets and removes variables of the site; the others stay. Raises Refusal as `change`
        does."""
        self._check_changeable(_VARIABLES)
        async with self._turn:
            before = Variables(plain=dict(self.current.environment))
            new = {_VARIABLES: changes.applied_to(before).plain}
            await self._database.write(store.site.set_settings, _kept(new, self._encryption))
            self._put(self._set | new)

    async def reset(self, name: str) -> None:
        """Restores the default. Raises Refusal as `change` does."""
        self._check_changeable(name)
        async with self._turn:
            await self._database.write(store.site.delete_settings, [name])
            self._put({other: value for other, value in self._set.items() if other != name})

    def described(self) -> list[SettingState]:
        """All settings, in the order of the README."""
        base = msgspec.to_builtins(Settings(), enc_hook=str)
        now = msgspec.to_builtins(self.current, enc_hook=str)
        # The values of variables may be secrets.
        for values in (base, now):
            values[_VARIABLES] = sorted(values[_VARIABLES])
        return [
            SettingState(
                name=name,
                value=now[name],
                default=base[name],
                source=self._source(name),
                changeable=setting.changeable and name not in self._given.sources,
                takes_effect=setting.takes_effect,
                size=setting.kind.is_size,
                meaning=setting.meaning,
            )
            for name, setting in SETTINGS.items()
        ]

    def _check_changeable(self, name: str) -> None:
        if (setting := SETTINGS.get(name)) is None:
            raise Refusal("setting.notfound", f"there is no setting {name!r}")
        if (source := self._given.sources.get(name)) is not None:
            raise Refusal("setting.fixed", f"{name} is fixed by {source}")
        if not setting.changeable:
            raise Refusal("setting.restart", f"{name} is read at the start only")

    def _source(self, name: str) -> str:
        return self._given.sources.get(name) or (_HERE if name in self._set else _DEFAULT)

    def _merged(self) -> Settings:
        free = {n: v for n, v in self._set.items() if n not in self._given.sources}
        return msgspec.structs.replace(self._given.settings, **free)

    def _put(self, values: dict[str, Any]) -> None:
        """Sets these values and notifies the subscribers."""
        self._set = values
        self.current = self._merged()
        for callback in self._subscribers:
            callback(self.current)


def _kept(new: Mapping[str, Any], encryption: Encryption) -> dict[str, Any]:
    """As the store has them, with variables encrypted."""
    kept = dict(new)
    if (variables := kept.get(_VARIABLES)) is not None:
        encrypted = encryption.encrypt(_KIND, "the site", msgspec.json.encode(variables))
        kept[_VARIABLES] = b64encode(encrypted).decode()
    return kept


def _decrypted(text: object, encryption: Encryption) -> object:
    """Raises ValueError, and CannotDecrypt."""
    ciphertext = b64decode(str(text), validate=True)
    return msgspec.json.decode(encryption.decrypt(_KIND, "the site", ciphertext))


def _usable(kept: Mapping[str, Any], encryption: Encryption) -> dict[str, Any]:
    """What an earlier gateway kept, without what this one cannot use."""
    usable = {}
    for name, value in kept.items():
        try:
            if name not in SETTINGS or not SETTINGS[name].changeable:
                raise ValueError("it cannot be set at run time")
            if name == _VARIABLES:
                value = _decrypted(value, encryption)
            usable[name] = parse_value(name, value)
        except (ValueError, CannotDecrypt) as error:
            # Without the value: those of variables may be secrets.
            logger.warning("setting.ignored name=%s: %s", name, error)
    return usable

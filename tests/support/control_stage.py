"""The parts of a control that know accounts and permissions, made as `Control` makes them.

They run on a real database in a folder of the test's. A test holds `lock` to keep changes of
permissions waiting, and moves `later` to make time pass.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio
from argon2 import PasswordHasher

from gateway.background import Tasks
from gateway.control.accounts.collaborators import Collaborators
from gateway.control.accounts.keys import Keys
from gateway.control.accounts.known_devices import KnownDevices
from gateway.control.accounts.password_hashing import PasswordHashing
from gateway.control.accounts.sign_in import Browser, SignIn
from gateway.control.accounts.throttle import Throttle
from gateway.control.accounts.users import Users
from gateway.control.audit.audit_log import AuditLog
from gateway.control.permission_changes import PermissionChanges
from gateway.control.retrying_writer import RetryingWriter
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.variables import GatewayUrls, ProcessVariables
from gateway.data_folder import DataFolder
from gateway.encryption import Encryption
from gateway.identity.accounts import Accounts
from gateway.identity.key_index import KeyIndex
from gateway.identity.passwords import Passwords
from gateway.predictions.endpoints import Endpoints
from gateway.set_aside import SetAside
from gateway.settings import LoadedSettings, Settings
from store import Database, open_database

HERE = Browser("192.0.2.1", "a browser")
PASSWORD = "correct horse battery"
URLS = GatewayUrls("https://models.test", "http://localhost")


class Clock:
    """Stands still, so that what has to wait still has to when it is looked at."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def quick_passwords() -> Passwords:
    """Hashes that cost little."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return Passwords(hasher, decoy=hasher.hash("thrown away"))


class ControlStage:
    """With a `clock`, passwords are hashed quickly and the throttle goes by the clock."""

    def __init__(
        self, database: Database, folder: Path, nursery: trio.Nursery, clock: Clock | None
    ) -> None:
        callers = KeyIndex()
        self.later = 0.0  # how much later it is than the clock says
        self.accounts = Accounts(callers, clock=lambda: time.monotonic() + self.later)
        self.endpoints = Endpoints(
            lambda model: f"{model.id}-{model.key_generation}", self.accounts.may_call, callers
        )
        self.database = database
        self.lock = trio.Lock()
        self.permissions = PermissionChanges(database, self.accounts, self.endpoints, self.lock)
        self.tasks = Tasks(nursery)
        self.writer = RetryingWriter(database, self.tasks, pause=0.001)
        self.data = DataFolder(folder)
        self.set_aside = SetAside(self.data)
        self.encryption = Encryption("60" * 32)
        self.settings = RuntimeSettings(
            LoadedSettings(Settings(data=folder), {}), {}, database, self.encryption
        )
        self.variables = ProcessVariables(
            encryption=self.encryption, settings=self.settings, urls=URLS
        )
        self.audit_log = AuditLog(database=database, writer=self.writer, tasks=self.tasks)
        self.users = Users(
            database=database,
            accounts=self.accounts,
            permissions=self.permissions,
            hashing=PasswordHashing(quick_passwords() if clock else Passwords()),
        )
        self.keys = Keys(
            database=database,
            accounts=self.accounts,
            permissions=self.permissions,
            admin_key_file=self.data.admin_key,
        )
        self.collaborators = Collaborators(database=database, permissions=self.permissions)
        self.sign_in = SignIn(
            database=database,
            accounts=self.accounts,
            permissions=self.permissions,
            users=self.users,
            audit_log=self.audit_log,
            devices=KnownDevices(self.encryption),
            throttle=Throttle(clock) if clock else Throttle(),
        )


S = TypeVar("S", bound=ControlStage)


@asynccontextmanager
async def opened(folder: Path, made: type[S], clock: Clock | None = None) -> AsyncIterator[S]:
    """A stage, recovered; its background tasks end with the block."""
    async with open_database(folder / "predictd.db") as database, trio.open_nursery() as nursery:
        stage = made(database, folder, nursery, clock)
        await stage.users.recover(make_password=False)
        await stage.sign_in.recover()
        yield stage
        nursery.cancel_scope.cancel()

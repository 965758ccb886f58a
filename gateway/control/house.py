"""What every noun of the control needs: the engines, the settings, and where things lie."""

import msgspec

from builder import Interpreter, Shelf
from gateway.data_folder import DataFolder
from gateway.routes import Routes
from gateway.settings import Settings
from gateway.tasks import Tasks
from store import Database
from workers import Workers


class House(msgspec.Struct, frozen=True, kw_only=True):
    """Handed to each part once. `domain` is the host and port that clients use; `user` who acts
    (one administrator, until there are users)."""

    settings: Settings
    data: DataFolder
    domain: str
    database: Database
    workers: Workers
    shelf: Shelf
    interpreters: list[Interpreter]
    routes: Routes
    tasks: Tasks
    user: str = "admin"

"""Isolation does not get weaker by itself: a data folder records the level of its last start.

With `isolation = "auto"` a start at a weaker level is refused, since the operator would not notice
that a package or a permission is missing. A setting that names the weaker level accepts it; it is
then recorded.
"""

import logging
from pathlib import Path

from builder import read_small_file
from gateway.data_folder import DataFolder
from gateway.set_aside import SetAside
from gateway.settings import LoadedSettings
from store import replace_file
from workers.confinement import LEVELS, Confinement, Level, open_confinement

logger = logging.getLogger(__name__)

_MAX_BYTES = 100  # of the file with the level
# What data folders of earlier releases call their level.
_EARLIER_NAMES: dict[str, Level] = {"root": "users", "user": "userns"}


def last_served(data: DataFolder) -> Level | None:
    """The level of the last start; None if the folder has not been served yet."""
    try:
        text = read_small_file(data.isolation, _MAX_BYTES).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError:
        text = ""
    text = _EARLIER_NAMES.get(text, text)
    # An unknown text may stand for the strongest level.
    return next((level for level in LEVELS if level == text), LEVELS[0])


def open_isolation(given: LoadedSettings, data: DataFolder, set_aside: SetAside) -> Confinement:
    """Chooses and records the level. Blocking. Raises ConfinementUnavailable, ConfinementWeaker,
    OSError."""
    settings = given.settings
    own = (settings.tls_key, settings.tls_certificate, settings.access_log, given.config)
    least = last_served(data)
    confinement = open_confinement(
        settings.isolation,
        data.confinement,
        [Path(folder) for folder in settings.shared_folders],
        hidden=[Path(each).absolute() for each in own if each],
        least=least,
    )
    if confinement.level != least:  # no write is needed on a full disk
        with set_aside.item("the level of isolation", data.isolation):
            replace_file(data.isolation, f"{confinement.level}\n".encode())
    described = confinement.described()
    logger.info("isolation.chosen level=%s: %s", described["level"], described["meaning"])
    for level, reason in confinement.refused.items():
        logger.info("isolation.unavailable level=%s: %s", level, reason)
    return confinement

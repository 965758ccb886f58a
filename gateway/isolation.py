"""Isolation does not fall by itself: a data folder remembers the level that it was served with.

Where `isolation` is `auto`, a start at a weaker level is refused, since the operator would not
notice that a package or a right has gone. To name the weaker level accepts it, and it is
remembered.
"""

import logging
from pathlib import Path

from builder import read_plain
from gateway.data_folder import DataFolder
from gateway.set_aside import SetAside
from gateway.settings import LoadedSettings
from store import replace_file
from workers.confinement import LEVELS, Confinement, Level, open_confinement

logger = logging.getLogger(__name__)

_BYTES = 100  # of the file with the level


def last_served(data: DataFolder) -> Level | None:
    """The level of the last start; None for a folder that was never served."""
    try:
        text = read_plain(data.isolation, _BYTES).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError:
        text = ""
    # What cannot be read may have been the strongest.
    return next((level for level in LEVELS if level == text), LEVELS[0])


def open_isolation(given: LoadedSettings, data: DataFolder, set_aside: SetAside) -> Confinement:
    """The confinement in force from now on. Blocking. Raises ConfinementUnavailable,
    ConfinementWeaker, OSError."""
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
    if confinement.level != least:  # else a full disk would keep it from starting
        with set_aside.item("the level of isolation", data.isolation):
            replace_file(data.isolation, f"{confinement.level}\n".encode())
    told = confinement.described()
    logger.info("isolation %s: %s", told["level"], told["meaning"])
    for level, why in confinement.refused.items():
        logger.info("not isolation %s, which is stronger: %s", level, why)
    return confinement

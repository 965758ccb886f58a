"""What is read again while the gateway serves, when an operator asks for it (SIGHUP).

The certificate and its key: for connections from then on, and for the command line, which knows the
gateway by it. The access log is opened again at its path. What cannot be read leaves all as it was.
"""

import logging

import trio

from gateway.address_file import write_address
from gateway.data_folder import DataFolder
from gateway.http.access_log import AccessLog
from gateway.http.listener import Listener
from gateway.http.tls import own_certificate, server_tls
from gateway.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


class Reloading:
    """Nothing is read again before `begin`: what will be read is new anyway."""

    def __init__(self) -> None:
        self._with: tuple[Settings, DataFolder, str, Listener, AccessLog | None] | None = None

    def begin(
        self,
        settings: Settings,
        data: DataFolder,
        url: str,
        listener: Listener,
        access_log: AccessLog | None,
    ) -> None:
        """The gateway serves from now on."""
        self._with = (settings, data, url, listener, access_log)

    async def reload(self) -> None:
        """Reads what can be read again."""
        if self._with is None:
            return
        settings, data, url, listener, access_log = self._with
        if access_log is not None:
            access_log.reopen()
        if not settings.tls_certificate:
            return
        try:
            fresh = await trio.to_thread.run_sync(server_tls, settings)
            own = await trio.to_thread.run_sync(own_certificate, settings)
        except (SettingsError, OSError, RuntimeError) as error:
            logger.error("the certificate is the one it was: %s", error)
            return
        listener.use_tls(fresh)
        await trio.to_thread.run_sync(write_address, data, url, own)
        logger.info("the certificate was read again")

"""What the gateway reads again on SIGHUP.

The certificate and its key are used for new connections, and by the command line, which verifies
the gateway by the certificate. The access log is opened again at its path. If the certificate
cannot be read, the old one stays in use.
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
    """Does nothing before `begin`, since a starting gateway reads the files anyway."""

    def __init__(self) -> None:
        self._serving: tuple[Settings, DataFolder, str, Listener, AccessLog | None] | None = None

    def begin(
        self,
        settings: Settings,
        data: DataFolder,
        url: str,
        listener: Listener,
        access_log: AccessLog | None,
    ) -> None:
        """Reloads are possible from now on."""
        self._serving = (settings, data, url, listener, access_log)

    async def reload(self) -> None:
        """Reads the certificate and its key, and opens the access log, again."""
        if self._serving is None:
            return
        settings, data, url, listener, access_log = self._serving
        if access_log is not None:
            access_log.reopen()
        if not settings.tls_certificate:
            return
        try:
            fresh = await trio.to_thread.run_sync(server_tls, settings)
            own = await trio.to_thread.run_sync(own_certificate, settings)
        except (SettingsError, OSError, RuntimeError) as error:
            logger.error("certificate.kept: %s", error)
            return
        listener.use_tls(fresh)
        await trio.to_thread.run_sync(write_address, data, url, own)
        logger.info("certificate.reloaded")

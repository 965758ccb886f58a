"""Removes by itself what no model needs: every `gc_hours` hours, and when the disk gets low.

What is removed is builds that their model does not keep (`retention.py`), with what only they need.
Caches, leftovers and the trash wait for `predictd gc`. Each collection that removed something is in
the audit log.
"""

import logging

import msgspec
import trio

import store
from gateway.control.audit.audit_log import AuditEvent, AuditLog
from gateway.control.disk.free_space import FreeSpace
from gateway.control.operation import OperationTimeouts
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.storage.garbage import Collector

logger = logging.getLogger(__name__)

_HOUR = 3600.0


class LastCollection(msgspec.Struct, frozen=True):
    """What the last automatic collection removed, and when it ended."""

    at: str
    removed: int
    bytes: int


class AutomaticCollection:
    """One collection at a time."""

    def __init__(
        self,
        *,
        collector: Collector,
        settings: RuntimeSettings,
        disk: FreeSpace,
        audit_log: AuditLog,
        timeouts: OperationTimeouts,
    ) -> None:
        self._collector = collector
        self._settings = settings
        self._disk = disk
        self._audit_log = audit_log
        self._timeouts = timeouts
        self.last: LastCollection | None = None

    async def watch(self) -> None:
        """Collects when it is due. Never returns."""
        due = trio.current_time() + self._timeouts.first_collection
        again = due
        while True:
            await trio.sleep(self._timeouts.collection_check)
            hours, now = self._settings.current.gc_hours, trio.current_time()
            # A low disk is no reason to walk through the folders all the time.
            if hours and (now >= due or (self._disk.is_low and now >= again)):
                await self._collect()
                due = trio.current_time() + hours * _HOUR
                again = trio.current_time() + self._timeouts.first_collection

    async def _collect(self) -> None:
        try:
            gone = await self._collector.collect_unneeded()
        except (store.StoreError, OSError) as error:
            logger.warning("garbage.failed: %s", error)
            return
        size = sum(each.bytes for each in gone)
        self.last = LastCollection(store.now(), len(gone), size)
        if not gone:
            return
        logger.info("garbage.collected count=%d bytes=%d", len(gone), size)
        detail = f"{len(gone)} builds, {size} bytes"
        event = AuditEvent(
            user="", address="", action="garbage.collect", object="/garbage", detail=detail
        )
        await self._audit_log.append(event)

"""Assembles what finds and removes garbage."""

from typing import NamedTuple

from gateway.control.audit.audit_log import AuditLog
from gateway.control.builds.builds import Builds
from gateway.control.builds.environments import Environments
from gateway.control.foundation import Foundation
from gateway.control.sessions.sessions import WorkSessions
from gateway.control.storage.automatic import AutomaticCollection
from gateway.control.storage.garbage import Collector
from gateway.control.storage.orphan_files import OrphanSweep


class Storage(NamedTuple):
    """Garbage removed on request, by itself, and at a start."""

    collector: Collector
    collection: AutomaticCollection
    orphans: OrphanSweep


def assemble_storage(
    foundation: Foundation,
    *,
    builds: Builds,
    environments: Environments,
    sessions: WorkSessions,
    audit_log: AuditLog,
) -> Storage:
    collector = Collector(
        database=foundation.database,
        data=foundation.data,
        build_store=foundation.build_store,
        trash=foundation.trash,
        removal_queue=foundation.removal_queue,
        set_aside=foundation.set_aside,
        builds=builds,
        environments=environments,
        sessions=sessions,
        settings=foundation.settings,
        disk=foundation.disk,
    )
    collection = AutomaticCollection(
        collector=collector,
        settings=foundation.settings,
        disk=foundation.disk,
        audit_log=audit_log,
        timeouts=foundation.operation_timeouts,
    )
    orphans = OrphanSweep(
        database=foundation.database,
        data=foundation.data,
        build_store=foundation.build_store,
        trash=foundation.trash,
        set_aside=foundation.set_aside,
        tasks=foundation.tasks,
    )
    return Storage(collector, collection, orphans)

"""What predictd remembers: records, their lifecycles, and all of its SQL. README.md has the map."""

from store import lifecycles
from store.audit_scope import PendingAuditEntry, auditing
from store.data_folder.ballast import Ballast
from store.data_folder.generation import GenerationKeeper, check_generation
from store.data_folder.lock import lock_data_folder
from store.data_folder.start_reserve import StartReserve
from store.errors import (
    BuildInUse,
    DatabaseOutdated,
    DataFolderBusy,
    DataFolderUnusable,
    IllegalTransition,
    NameTaken,
    NotFound,
    RuntimeInUse,
    SchemaTooNew,
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFull,
)
from store.fsync import replace_file
from store.records import (
    AuditEntry,
    Build,
    Deployment,
    Experiment,
    Failure,
    Key,
    KeyKind,
    Membership,
    MetricRecord,
    MetricSeries,
    Model,
    Project,
    Record,
    Role,
    RunMetric,
    Runtime,
    Session,
    Step,
    StoredLock,
    StoredMetricRecord,
    User,
    Visibility,
    as_text,
    new_id,
    now,
)
from store.sqlite import database_copy
from store.sqlite.database import Database, open_database
from store.tables import audit, deleted, history, metric_values, metrics, requests, retention, site
from store.tables.builds import builds
from store.tables.deployments import deployments
from store.tables.experiments import experiments
from store.tables.keys import keys
from store.tables.memberships import memberships
from store.tables.metric_values import NamedValues, RecordExtent, RecordSelection
from store.tables.models import models
from store.tables.projects import projects
from store.tables.requests import RequestQuery, StoredRequest
from store.tables.runtimes import runtimes
from store.tables.sessions import sessions
from store.tables.table import ListPart
from store.tables.users import users

__all__ = [
    "AuditEntry",
    "Ballast",
    "Build",
    "BuildInUse",
    "DataFolderBusy",
    "DataFolderUnusable",
    "Database",
    "DatabaseOutdated",
    "Deployment",
    "Experiment",
    "Failure",
    "GenerationKeeper",
    "IllegalTransition",
    "Key",
    "KeyKind",
    "ListPart",
    "Membership",
    "MetricRecord",
    "MetricSeries",
    "Model",
    "NameTaken",
    "NamedValues",
    "NotFound",
    "PendingAuditEntry",
    "Project",
    "Record",
    "RecordExtent",
    "RecordSelection",
    "RequestQuery",
    "Role",
    "RunMetric",
    "Runtime",
    "RuntimeInUse",
    "SchemaTooNew",
    "Session",
    "StartReserve",
    "Step",
    "StoreDamaged",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoredLock",
    "StoredMetricRecord",
    "StoredRequest",
    "User",
    "Visibility",
    "as_text",
    "audit",
    "auditing",
    "builds",
    "check_generation",
    "database_copy",
    "deleted",
    "deployments",
    "experiments",
    "history",
    "keys",
    "lifecycles",
    "lock_data_folder",
    "memberships",
    "metric_values",
    "metrics",
    "models",
    "new_id",
    "now",
    "open_database",
    "projects",
    "replace_file",
    "requests",
    "retention",
    "runtimes",
    "sessions",
    "site",
    "users",
]

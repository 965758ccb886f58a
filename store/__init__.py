"""What predictd remembers: records, their lifecycles, and all of its SQL. README.md is the map."""

from store import builds, deployments, lifecycles, models, projects, site
from store.ballast import Ballast
from store.data_folder import lock_data_folder
from store.database import Database, open_database
from store.errors import (
    BuildInUse,
    DataFolderBusy,
    DataFolderUnusable,
    IllegalTransition,
    NameTaken,
    NotFound,
    SchemaTooNew,
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFull,
)
from store.image import check_image, image
from store.records import (
    Build,
    Deployment,
    Failure,
    Model,
    Project,
    Step,
    Visibility,
    new_id,
    now,
)

__all__ = [
    "Ballast",
    "Build",
    "BuildInUse",
    "DataFolderBusy",
    "DataFolderUnusable",
    "Database",
    "Deployment",
    "Failure",
    "IllegalTransition",
    "Model",
    "NameTaken",
    "NotFound",
    "Project",
    "SchemaTooNew",
    "Step",
    "StoreDamaged",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "Visibility",
    "builds",
    "check_image",
    "deployments",
    "image",
    "lifecycles",
    "lock_data_folder",
    "models",
    "new_id",
    "now",
    "open_database",
    "projects",
    "site",
]

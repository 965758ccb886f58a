"""Folders that the tests of one file share.

pytest removes the folder of a test that passed (`tmp_path_retention_policy`), but a folder of
`tmp_path_factory` stays until the end of the run. A gateway's folder holds tens of MB, so a run
needs a disk for those in use only.
"""

from collections.abc import Callable
from pathlib import Path

NewFolder = Callable[[str], Path]
"""Makes an empty folder whose name starts so; the type of the fixture `new_folder`."""

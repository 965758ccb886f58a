"""Connections to the tables of a cluster: predictd has none.

The import raises ImportError, since projects that also run elsewhere are ready for one.
"""

raise ImportError(
    "cml.data_v1: predictd has no data connections; read files, or connect by a driver of your own"
)

"""Connections to the tables of a cluster: there are none here, which the import says.

As an ImportError, since projects that run elsewhere too are ready for one.
"""

raise ImportError(
    "cml.data_v1: predictd has no data connections; read files, or connect by a driver of your own"
)

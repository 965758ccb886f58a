"""The library for CML's models, as predictd offers it; see its modules.

`cml.models_v1`: `cml_model`, `call_model` · `cml.metrics_v1`: `track_metric`, `read_metrics` and
similar · `cml.utils_v1`: `get_auth` · `cml.workers_v1`
"""

from predictd_inside.precedence import defer_to  # type: ignore[import-not-found]

defer_to(__name__)

"""The results of a run, and how they are shown: text, JSON, a page. See `record.py`."""

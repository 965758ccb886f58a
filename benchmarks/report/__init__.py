"""What a run found, and the ways to show it: text, JSON, a page. See `record.py`."""

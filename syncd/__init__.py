"""syncd keeps Postgres tables in step with REST APIs.  Start reading at `sync/stream.py`."""

__version__ = "0.1.0"

"""Fakes that pass the same contract tests as the real ones: for the loop's tests, and yours."""

from syncd.testing.api import Asked, FakeApi, FakeSource, hang, record, reject
from syncd.testing.store import FakeStore

__all__ = ["Asked", "FakeApi", "FakeSource", "FakeStore", "hang", "record", "reject"]

"""What can befall a record, beside being written?"""

from typing import Literal

What = Literal["put-aside", "retried", "recovered", "left-out", "discarded", "missing", "deleted"]
"""put-aside: it became a dead letter, or did once more.  retried: its letter was tried again.
recovered, left-out, discarded: its letter has left: its row was written, a rule leaves it out
now, a person forgot it.  missing, deleted: a first scan did not meet its row, a second did not.
"""

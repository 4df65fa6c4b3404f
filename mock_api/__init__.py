"""A real server that misbehaves on request: the campaigns API, and a script of faults.

It answers one question: what would the platform have said?  It runs in a
process of its own (`python -m mock_api`), speaks HTTP through hypercorn on
Trio, and an existing client of the platform cannot tell it from the platform.

Start reading at `mock_api.api`: what each request is answered, as plain
functions on plain values.  `mock_api.delivery` and `mock_api.server` put those
answers on the wire, or fail to, as the script of faults asks.
"""

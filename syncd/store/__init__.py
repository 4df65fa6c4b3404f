"""Postgres: rows, checkpoints, tokens, leases.  The only room that knows psycopg."""

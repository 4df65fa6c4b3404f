"""The commands that look: they read Postgres, print what they find, and need no daemon."""

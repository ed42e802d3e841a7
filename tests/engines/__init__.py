"""Existing engines beside a sandbox, and the long run of many processes: `nox -s engines`."""

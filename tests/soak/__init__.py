"""Runs of many minutes: `nox -s soak`."""

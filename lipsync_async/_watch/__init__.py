"""Waiting for jobs: one poller serves every waiter of a client."""

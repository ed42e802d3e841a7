"""The service's official client against the sandbox; run by `nox -s peer` only."""

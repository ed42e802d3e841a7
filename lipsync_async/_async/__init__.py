"""The verbs, async: one file per resource of the service."""

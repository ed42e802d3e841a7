# Generated from lipsync_async/_async/__init__.py by lipsync_async/_tools/mirror.py.
# Change that file, not this one, and run `nox -s regenerate`.

"""The verbs, blocking: one file per resource of the service."""

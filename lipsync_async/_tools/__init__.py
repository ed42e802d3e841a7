"""Tools for working on this package; not part of the wheel."""

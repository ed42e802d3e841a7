"""Figures beside the obvious alternatives, as ratios of one run: `nox -s bench`."""

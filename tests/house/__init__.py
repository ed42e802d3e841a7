"""Tests of the repository itself: style, imports, public names, documents."""

"""Tests of the tools for working on this package."""

"""Tests of the values: what they hold, hide and refuse."""

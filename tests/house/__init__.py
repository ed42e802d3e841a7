"""Tests of the house itself: floors, style, public names, README."""

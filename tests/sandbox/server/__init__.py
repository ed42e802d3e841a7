"""Tests of what reads requests and writes answers."""

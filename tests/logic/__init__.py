"""Tests of the rules: tables and properties, without clock, loop or network."""

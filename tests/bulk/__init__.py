"""Tests of what thousands of jobs need."""

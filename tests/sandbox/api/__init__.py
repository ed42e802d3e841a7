"""Tests of the API, one file a resource."""

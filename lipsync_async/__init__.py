"""Async-first client for the sync.so lip-sync API."""

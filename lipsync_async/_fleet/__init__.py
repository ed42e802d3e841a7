"""Thousands of jobs: their journal, and manifests that name them."""

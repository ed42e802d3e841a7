"""Several real processes that share one account; `nox -s processes` runs these tests."""

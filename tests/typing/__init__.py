"""Code as users write it, judged by type checkers (`nox -s typing`) and never run."""

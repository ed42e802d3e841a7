"""How generated files are laid out: as the formatter would."""

WIDTH = 100  # as ruff's `line-length`
INDENT = "    "

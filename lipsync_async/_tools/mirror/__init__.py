"""The generator of `_sync/`: a blocking twin for each file of `_async/`.

It needs the standard library only, and writes the same bytes whatever Python runs it.
"""

"""What people type: the commands of `python -m lipsync_async`."""

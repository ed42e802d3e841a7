"""What people type: the commands of `lipsync-async`."""

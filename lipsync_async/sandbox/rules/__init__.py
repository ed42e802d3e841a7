"""What the service decides, as pure functions and values: no clock, no socket, no file."""

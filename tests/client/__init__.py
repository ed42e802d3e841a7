"""The client against the sandbox, over sockets and in memory."""

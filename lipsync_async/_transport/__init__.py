"""Ways to carry a request: sockets by aiohttp, or memory with a virtual clock."""

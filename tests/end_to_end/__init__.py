"""Whole journeys: the client, real HTTP, a sandbox that renders, and the file that comes back."""

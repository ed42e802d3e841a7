"""From blocking code into async code: one event loop in a thread of its own."""

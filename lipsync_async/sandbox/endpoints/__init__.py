"""What each path does with a request that was let in."""

"""Where several processes keep the limits of the account that they share."""

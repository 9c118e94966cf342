"""Real clients against a real kgw process."""

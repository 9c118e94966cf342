"""Loads for a kgw process, and what they measure."""

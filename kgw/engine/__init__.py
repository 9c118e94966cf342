"""Engines: what keeps the partition logs and the small facts behind L{kgw.interfaces}."""

"""Schemas: the registry, the wire formats of records that name one, and what their values are as columns."""

"""A gateway as one of several: what clients are told, how it leads, and how it changes facts in turn with others."""

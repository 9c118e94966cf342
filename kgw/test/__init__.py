"""Tests of kgw, mirroring its rooms."""

"""Tells twistd about kgw. Twisted looks for files here; this folder must stay without an __init__.py."""

from twisted.application.service import ServiceMaker

kgw = ServiceMaker("kgw", "kgw.tap", "A Kafka wire-protocol broker.", "kgw")

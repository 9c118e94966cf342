"""gRPC over HTTP/2 for Twisted, quick enough for streams of many small messages; knows nothing of what is sent.

L{kgw.engine.seaweed.h2.client} is the way in: C{connect} gives a connection, its C{open} a stream, its C{unary} an
answer. Beneath it, without input or output of their own: L{kgw.engine.seaweed.h2.grpc} (one call),
L{kgw.engine.seaweed.h2.connection} (frames, windows, streams).
"""

"""The engine's gRPC messages: C{.proto} files with what kgw uses of SeaweedFS's, and the code protoc makes of them."""

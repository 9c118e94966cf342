"""SeaweedMQ as the keeper of partition logs: records in its topics, facts in its filer."""

from __future__ import annotations

import os

# gRPC's C library writes to stderr what the error of each call says too. It looks here when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

"""C{python -m kgw.engine.seaweed.proto}: makes the C{_pb2} modules of the C{.proto} files; needs grpcio-tools."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).parent
#: Files are named from the folder kgw lies in, so that the generated imports are those of the package.
ROOT = HERE.parents[3]


def compile_protos(*outputs: str) -> None:
    """
    Run protoc over every C{.proto} file.

    @param outputs: protoc's options that say what to make, and where.
    @raise SystemExit: protoc was not content; it has said why.
    """
    files = [str(path) for path in sorted(HERE.glob("*.proto"))]
    status = protoc.main(["protoc", f"--proto_path={ROOT}", *outputs, *files])
    if status:
        sys.exit(int(status))


if __name__ == "__main__":
    compile_protos(f"--python_out={ROOT}", f"--pyi_out={ROOT}")

"""How .proto files become descriptors: by protoc, in a process of its own with a temporary folder.

grpc_tools could run protoc within this process, and does so in 0.4 ms; but what may come from a registry ends it with a
segmentation fault (groups in one another, 100,000 deep, are enough), and its complaints go to C's stderr. A process of
its own takes about 20 ms, once for a schema, and bounds time and memory (L{kgw.schema.protobuf_child}).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from kgw.schema import protobuf_child
from kgw.schema.model import RegistryUnavailable, Undecodable

#: Seconds until protoc is given up: many times what its own bound of CPU is, so that this is a machine without time.
PATIENCE_SECONDS = 60.0
#: How much of a complaint is shown.
_SHOWN = 200
#: Names of files that are written and looked up as they stand, on any machine.
_PART = re.compile(r"[A-Za-z0-9_.+~@ -]{1,200}")
_MOST_PATH = 1000
#: Lines that protoc says besides: warnings, and those of its log.
_NO_FAULT = re.compile(r"\A(WARNING: |[IWEF]\d{4} )| warning: ")


class CompilerUnavailable(RegistryUnavailable):
    """
    No process could be started, or none got time, which may be another way the next moment.

    It is handled as a registry that does not answer: what the schema is cannot be told for now.
    """


def safe_name(name: str) -> bool:
    """Whether an import has a name that files may be given: relative, downward, nothing that protoc expands."""
    if len(name) > _MOST_PATH or name.startswith(("-", "@")):
        return False
    return all(_PART.fullmatch(part) and part not in (".", "..") for part in name.split("/"))


def compile_files(texts: Mapping[str, str], known: bytes, wanted: Sequence[str]) -> bytes:
    """
    Compile .proto files; it blocks, and may be called on any thread.

    @param texts: the files by name; L{safe_name} has to hold for each.
    @param known: a C{FileDescriptorSet} of further files that can be imported.
    @param wanted: names of the files to compile, of C{texts} or C{known}; what they import need not be named.
    @return: a C{FileDescriptorSet} with the files and all they import, each behind what it imports.
    @raise Undecodable: protoc finds fault with them, or does not get through with them.
    @raise CompilerUnavailable: protoc could not be run.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="kgw-protoc-") as folder:
            place = Path(folder)
            # files stand beside what protoc reads and writes, where no import's name can meet them
            sources = place / "sources"
            sources.mkdir()
            for name, text in texts.items():
                _write(sources / name, text)
            (place / "known").write_bytes(known)
            return _run(place, list(wanted))
    except OSError as error:
        raise CompilerUnavailable(f"protoc could not be run: {error.strerror or error}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # exclusive, for file systems where two names are one
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Undecodable("two imports of the schema have names that cannot stand beside each other") from error
    except UnicodeEncodeError as error:
        raise Undecodable("the schema is no text in UTF-8") from error


def _run(place: Path, wanted: list[str]) -> bytes:
    tools = find_spec("grpc_tools")
    if tools is None or tools.origin is None or not sys.executable:
        raise CompilerUnavailable("protoc is not to be had: grpcio-tools is not installed")
    bundled = Path(tools.origin).parent / "_proto"
    output, complaints = place / "compiled", place / "complaints"
    command = [
        sys.executable,
        # neither the environment nor the folder it runs in has a say in what is imported
        "-I",
        "-S",
        protobuf_child.__file__,
        str(bundled.parent.parent),
        "--descriptor_set_in=../known",
        "-I.",
        f"-I{bundled}",
        "--include_imports",
        "--descriptor_set_out=../compiled",
        *wanted,
    ]
    with complaints.open("wb") as errors:
        try:
            done = subprocess.run(
                command,
                cwd=place / "sources",
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CompilerUnavailable(f"protoc had no time in {PATIENCE_SECONDS:.0f} s") from error
    if done.returncode == 0 and output.exists():
        return output.read_bytes()
    if done.returncode == 1:
        raise Undecodable(f"the schema does not compile: {_first_line(complaints, bundled)}")
    # a signal: more than it may have of something, or a fault of protoc itself
    raise Undecodable("the schema cannot be compiled: protoc does not get through with it")


def _first_line(complaints: Path, bundled: Path) -> str:
    """What protoc says first; names of folders are nobody's business."""
    with complaints.open("rb") as file:
        said = file.read(4096).decode("utf-8", "replace").replace(f"{bundled}/", "")
    lines = (line for line in said.splitlines() if line.strip() and not _NO_FAULT.search(line))
    line = next(lines, "no reason given")
    return "".join(char if char.isprintable() else "?" for char in line)[:_SHOWN]

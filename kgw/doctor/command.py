"""The C{kgw doctor} command: its options, and how what was found is told."""

from __future__ import annotations

import argparse
import json
import ssl
import sys
from collections.abc import Sequence

from kgw.doctor.connection import Address
from kgw.doctor.examination import examine
from kgw.doctor.findings import as_text, as_value

_EPILOG = """
Exit status: 0 no problem, 1 problems, 2 no Kafka broker answers at that address (or the command line is wrong).
What is examined is what clients meet: run it where they run. It makes a topic and a group named kgw-doctor-... and
removes them.
"""


def seconds(text: str) -> float:
    """
    A time limit from the command line.

    @raise ValueError: it is none.
    """
    value = float(text)
    if not 0 < value < 3600:
        raise ValueError(text)
    return value


def add_tls(parser: argparse.ArgumentParser) -> None:
    """The options of a connection with TLS."""
    parser.add_argument("--tls", action="store_true", help="speak TLS (security.protocol=SSL)")
    parser.add_argument("--ca-file", metavar="PEM", help="with --tls: whom to trust, if not the system's authorities")


def tls_of(options: argparse.Namespace) -> ssl.SSLContext | None:
    """
    What TLS is spoken with, by the command line.

    @raise OSError: the file cannot be read, or holds no certificate.
    """
    return ssl.create_default_context(cafile=options.ca_file) if options.tls else None


def run(arguments: Sequence[str]) -> int:
    """
    Examine a broker, and say what was found.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(
        prog="kgw doctor", description="Find out what is wrong with a Kafka broker, kgw or another.", epilog=_EPILOG
    )
    parser.add_argument(
        "address", metavar="HOST:PORT", type=Address.parse, help="as clients have it (bootstrap.servers)"
    )
    parser.add_argument("--topic", metavar="NAME", help="also see whether this topic is there and can be used")
    parser.add_argument(
        "--timeout", metavar="S", type=seconds, default=10.0, help="seconds for each answer (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    add_tls(parser)
    options = parser.parse_args(arguments)
    try:
        tls = tls_of(options)
    except OSError as error:
        parser.error(f"--ca-file {options.ca_file}: {error.strerror or error}")
    findings = examine(options.address, options.timeout, options.topic, tls=tls)
    address = str(options.address)
    if options.json:
        print(json.dumps(as_value(address, findings), indent=1))
    else:
        sys.stdout.write(as_text(address, findings))
    sys.stdout.flush()
    return findings.status

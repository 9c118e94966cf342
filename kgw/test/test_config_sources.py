"""Where properties come from: properties files, the environment, --set, and which goes over which."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.config import ConfigError, load
from kgw.config.properties import PropertiesError, parse
from kgw.config.sources import Given, from_environment


class PropertiesTests(SynchronousTestCase):
    """Java's properties syntax."""

    def test_syntax(self) -> None:
        """Separators, comments, blanks, escapes and continued lines, as java.util.Properties reads them."""
        text = (
            "# a comment \\\n"
            "! another\n"
            "\n"
            "a=1\n"
            "  b : 2  \r\n"
            "c 3\r"
            "d\n"
            "e = one,\\\n"
            "    two,\\\n"
            "    # no comment here\n"
            "f=C:\\\\dir\\\\\n"
            "g\\:h\\=i\\ j = k=l:m\n"
            "u=\\u0041\\t|\n"
            "x=\\q\\\n"
        )
        self.assertEqual(
            [tuple(property) for property in parse(text)],
            [
                ("a", "1", 4),
                ("b", "2  ", 5),
                ("c", "3", 6),
                ("d", "", 7),
                ("e", "one,two,# no comment here", 8),
                ("f", "C:\\dir\\", 11),
                ("g:h=i j", "k=l:m", 12),
                ("u", "A\t|", 13),
                ("x", "q", 14),
            ],
        )

    def test_bad_escape(self) -> None:
        """A unicode escape needs its digits; the error names the line."""
        error = self.assertRaises(PropertiesError, list, parse("a=1\nb=\\u12\n"))
        self.assertEqual(error.line, 2)

    @settings(deadline=None, max_examples=80)
    @given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=12), max_size=4))
    def test_written_and_read(self, properties: dict[str, str]) -> None:
        """What is written with every character escaped is read as it was."""
        written = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f"}

        def escape(text: str) -> str:
            return "".join(written.get(c, c if c.isalnum() else f"\\{c}") for c in text)

        text = "".join(f"{escape(name)}={escape(value)}\n" for name, value in properties.items())
        self.assertEqual({one.name: one.value for one in parse(text)}, properties)

    @settings(deadline=None, max_examples=80)
    @given(st.text(alphabet="ab=: \\#!\n\r\tu0", max_size=40))
    def test_any_text(self, text: str) -> None:
        """Any text is properties or a PropertiesError."""
        try:
            list(parse(text))
        except PropertiesError as error:
            self.assertGreater(error.line, 0)


class EnvironmentTests(SynchronousTestCase):
    """Variables."""

    def given(self, **environ: str) -> dict[str, str]:
        return {one.name: one.value for one in from_environment(environ)}

    def test_three_prefixes(self) -> None:
        """Kafka's image, bitnami's and kgw's own; underscores are dots."""
        self.assertEqual(self.given(KAFKA_NUM_PARTITIONS="3"), {"num.partitions": "3"})
        self.assertEqual(self.given(KAFKA_CFG_LOG_DIRS="/d"), {"log.dirs": "/d"})
        self.assertEqual(self.given(KGW_NUM_PARTITIONS="4"), {"num.partitions": "4"})
        self.assertEqual(self.given(KGW_ENGINE="memory"), {"kgw.engine": "memory"})
        self.assertEqual(self.given(KAFKA_LISTENER_NAME_MY___NAME_A__B="x"), {"listener.name.my-name.a_b": "x"})

    def test_which_goes_over_which(self) -> None:
        """KGW_ over KAFKA_CFG_ over KAFKA_."""
        config = load(environ={"KAFKA_NUM_PARTITIONS": "1", "KAFKA_CFG_NUM_PARTITIONS": "2", "KGW_NUM_PARTITIONS": "3"})
        self.assertEqual(config.num_partitions, 3)
        config = load(environ={"KAFKA_NUM_PARTITIONS": "1", "KAFKA_CFG_NUM_PARTITIONS": "2"})
        self.assertEqual(config.num_partitions, 2)

    def test_no_properties(self) -> None:
        """What scripts, images, clients and Kubernetes set is passed over."""
        names = (
            "KAFKA_HEAP_OPTS KAFKA_OPTS KAFKA_JVM_PERFORMANCE_OPTS KAFKA_LOG4J_ROOT_LOGLEVEL KAFKA_LOG4J_OPTS"
            " KAFKA_JMX_PORT KAFKA_JMX_OPTS KAFKA_VERSION KAFKA_HOME KAFKA_BOOTSTRAP_SERVERS KAFKA_BROKERS"
            " KAFKA_PORT KAFKA_PORT_9092_TCP KAFKA_PORT_9092_TCP_ADDR KAFKA_SERVICE_HOST KAFKA_SERVICE_PORT_KAFKA"
            " KAFKA_HEADLESS_SERVICE_HOST KGW_PORT KGW_SERVICE_HOST KGW_VERSION KAFKA_ KGW_ KAFKAESQUE PATH"
        )
        self.assertEqual(self.given(**dict.fromkeys(names.split(), "x")), {})

    def test_cluster_id(self) -> None:
        """CLUSTER_ID is for a fresh directory."""
        config = load(environ={"CLUSTER_ID": "4L6g3nShT-eMCtK--X86sw"})
        self.assertEqual(config.kgw_cluster_id, "4L6g3nShT-eMCtK--X86sw")

    def test_unknown(self) -> None:
        """A misspelt variable is an error that names it and the nearest property."""
        error = self.assertRaises(ConfigError, load, environ={"KGW_NUM_PARTITION": "3"})
        self.assertIn("environment variable KGW_NUM_PARTITION", str(error))
        self.assertIn("did you mean num.partitions?", str(error))


class PrecedenceTests(SynchronousTestCase):
    """All sources together."""

    def file(self, text: str) -> str:
        path: str = self.mktemp()
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        return path

    def test_order(self) -> None:
        """Defaults, file, environment, --set, shortcuts; one that is set leaves the others as they are."""
        path = self.file("num.partitions=2\nlog.dirs=/file\nlog.segment.bytes=2000000\nmessage.max.bytes=2000\n")
        config = load(
            path,
            {"KAFKA_LOG_DIRS": "/environment", "KAFKA_MESSAGE_MAX_BYTES": "3000", "KGW_LOG_SEGMENT_BYTES": "3000000"},
            ["log.dirs=/set", "message.max.bytes = 4000"],
            [Given("log.dirs", "/shortcut", "--data")],
        )
        self.assertEqual(config.num_partitions, 2)
        self.assertEqual(config.log_segment_bytes, 3_000_000)
        self.assertEqual(config.message_max_bytes, 4000)
        self.assertEqual(config.data_directory, "/shortcut")
        self.assertIs(config.auto_create_topics_enable, True)

    def test_errors_name_the_place(self) -> None:
        """File and line, variable, or option."""
        path = self.file("# first\nnum.partitions=none\n")
        self.assertIn(f"num.partitions=none ({path}:2): ", str(self.assertRaises(ConfigError, load, path)))
        error = self.assertRaises(ConfigError, load, environ={"KAFKA_CFG_NUM_PARTITIONS": "no"})
        self.assertIn("(environment variable KAFKA_CFG_NUM_PARTITIONS)", str(error))
        error = self.assertRaises(ConfigError, load, assignments=["num.partitions=no"])
        self.assertIn("num.partitions=no (--set)", str(error))
        self.assertIn("name=value", str(self.assertRaises(ConfigError, load, assignments=["num.partitions"])))

    def test_unreadable_file(self) -> None:
        """A file that is not there, or not text, is an error in one line."""
        missing = self.mktemp()
        self.assertEqual(
            str(self.assertRaises(ConfigError, load, missing)),
            f"the configuration file {missing} cannot be read: No such file or directory",
        )
        path = self.mktemp()
        with open(path, "wb") as stream:
            stream.write(b"a=\xff\n")
        self.assertIn("is not UTF-8", str(self.assertRaises(ConfigError, load, path)))
        path = self.file("a=1\nb=\\uzzzz\n")
        self.assertIn(f"{path}:2: ", str(self.assertRaises(ConfigError, load, path)))

    def test_kafkas_own_file(self) -> None:
        """The server.properties that Kafka ships for its combined mode starts kgw."""
        path = self.file(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:9093\n"
            "listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n"
            "advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n"
            "controller.listener.names=CONTROLLER\n"
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL\n"
            "num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\nsocket.receive.buffer.bytes=102400\n"
            "socket.request.max.bytes=104857600\nlog.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\n"
            "num.recovery.threads.per.data.dir=1\noffsets.topic.replication.factor=1\n"
            "share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n"
            "transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"
            "#log.flush.interval.messages=10000\nlog.retention.hours=168\nlog.segment.bytes=1073741824\n"
            "log.retention.check.interval.ms=300000\n"
        )
        config = load(path)
        self.assertEqual([one.name for one in config.listeners], ["PLAINTEXT"])
        self.assertEqual(config.advertised_listeners, {"PLAINTEXT": ("localhost", 9092)})
        self.assertIn("process.roles", config.unused)
        self.assertNotIn("log.segment.bytes", config.unused)

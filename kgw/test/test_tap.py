"""Options, the service that announces a gateway, and the plugin that twistd finds."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.application.service import IServiceMaker
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogPublisher
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from kgw.config import ConfigError
from kgw.errors import StartError
from kgw.tap import ExitStatus, GatewayService, Options


class FakeGateway:
    """
    A gateway that starts when the test says so.

    @ivar refusal: raised at the start, if not C{None}.
    @ivar stopped: fired by the test when the gateway is to have stopped.
    @ivar calls: what it was told.
    """

    def __init__(self, refusal: StartError | None = None) -> None:
        self.started: Deferred[None] = Deferred()
        self.stopped: Deferred[None] = Deferred()
        self.refusal = refusal
        self.calls: list[str] = []

    def startService(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.calls.append("start")

    def stopService(self) -> Deferred[None]:
        self.calls.append("stop")
        return self.stopped

    def banner(self) -> list[str]:
        return ["kgw 1.2.3"]


class StoppableReactor(MemoryReactorClock):
    """A reactor that runs nothing and remembers whether it was stopped."""

    stopped = False

    def stop(self) -> None:
        self.stopped = True


class OptionsTests(SynchronousTestCase):
    """The command line."""

    def parsed(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def test_nothing(self) -> None:
        """No option is needed."""
        config = self.parsed().configuration({})
        self.assertEqual(config.properties, {})

    def test_shortcuts(self) -> None:
        """--data, --engine and --listen go over --set, which goes over the environment."""
        options = self.parsed(
            "--set", "log.dirs=/set", "-s", "num.partitions=5", "--data", "/data", "--engine", "memory",
            "--listen", "tcp:0:interface=127.0.0.1", "--listen", "PLAINTEXT://:9092",
        )  # fmt: skip
        self.assertIn("two listeners", str(self.assertRaises(ConfigError, options.configuration, {})))
        options.endpoints[1] = "EXTRA=tcp:9092"
        config = options.configuration({"KAFKA_NUM_PARTITIONS": "4", "KAFKA_BROKER_RACK": "r"})
        self.assertEqual(config.data_directory, "/data")
        self.assertEqual(config.kgw_engine, "memory")
        self.assertEqual((config.num_partitions, config.broker_rack), (5, "r"))
        self.assertEqual([one.name for one in config.listeners], ["PLAINTEXT", "EXTRA"])

    def test_errors_name_the_option(self) -> None:
        """A bad value of a shortcut is blamed on it."""
        options = self.parsed("--engine", "steam")
        self.assertIn("kgw.engine=steam (--engine)", str(self.assertRaises(ConfigError, options.configuration, {})))

    def test_seaweedmq(self) -> None:
        """--masters and --embedded choose their engine; with another one they are without effect."""
        config = self.parsed("--masters", "one:9333,two:9333").configuration({})
        self.assertEqual((config.kgw_engine, config.kgw_seaweedmq_masters), ("seaweedmq", ("one:9333", "two:9333")))
        config = self.parsed("--embedded", "/data").configuration({"KGW_ENGINE": "memory"})
        self.assertEqual((config.kgw_engine, config.kgw_seaweedmq_embedded_dir), ("seaweedmq", "/data"))
        self.assertEqual(self.parsed("--engine", "memory", "--masters", "m:1").configuration({}).kgw_engine, "memory")
        both = self.parsed("--masters", "m:9333", "--embedded", "/data")
        self.assertIn("set one, not both", str(self.assertRaises(ConfigError, both.configuration, {})))

    def test_config_file(self) -> None:
        """--config names a properties file."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as stream:
            stream.write("num.partitions=8\n")
        self.assertEqual(self.parsed("-c", path).configuration({}).num_partitions, 8)

    def test_not_understood(self) -> None:
        """What is no option is refused."""
        self.assertRaises(UsageError, self.parsed, "--bogus")
        self.assertRaises(UsageError, self.parsed, "stray")


class GatewayServiceTests(SynchronousTestCase):
    """Started, refused, stopped."""

    def setUp(self) -> None:
        self.reactor = StoppableReactor()
        self.announced: list[str] = []
        self.refused: list[str] = []

    def service(self, gateway: FakeGateway) -> GatewayService:
        return GatewayService(gateway, self.reactor, self.announced.extend, self.refused.append)

    def test_started(self) -> None:
        """The banner and then the ready line, when clients may come and not before."""
        gateway = FakeGateway()
        service = self.service(gateway)
        service.startService()
        self.assertEqual(self.announced, [])
        gateway.started.callback(None)
        self.assertEqual(self.announced, ["kgw 1.2.3", "kgw started"])
        self.assertEqual((service.exit_status, self.refused, self.reactor.stopped), (0, [], False))

    def test_refused_at_once(self) -> None:
        """One line says why, and the reactor ends as soon as it runs."""
        service = self.service(FakeGateway(StartError("the directory is locked by process 7")))
        service.startService()
        self.reactor.run()
        self.assertEqual(self.refused, ["the directory is locked by process 7"])
        self.assertEqual((service.exit_status, self.reactor.stopped, self.announced), (2, True, []))

    def test_refused_and_stopped(self) -> None:
        """A gateway that never started is not stopped: it would only say so."""
        gateway = FakeGateway(StartError("no"))
        service = self.service(gateway)
        service.startService()
        self.assertIsNone(service.stopService())
        self.assertEqual(gateway.calls, [])

    def test_refused_later(self) -> None:
        """Likewise where it takes a while to find out."""
        gateway = FakeGateway()
        service = self.service(gateway)
        service.startService()
        self.reactor.run()
        gateway.started.errback(StartError("port 9092 is in use"))
        self.assertEqual(self.refused, ["port 9092 is in use"])
        self.assertEqual((service.exit_status, self.reactor.stopped), (2, True))

    def test_defect(self) -> None:
        """A bug is logged with its traceback and ends the start all the same."""
        gateway = FakeGateway()
        service = self.service(gateway)
        service.startService()
        gateway.started.errback(ZeroDivisionError("oops"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.refused, ["a defect in kgw, see the log: oops"])
        self.assertEqual(service.exit_status, 2)

    def test_stopped(self) -> None:
        """Stopping waits for the gateway."""
        gateway = FakeGateway()
        service = self.service(gateway)
        service.startService()
        gateway.started.callback(None)
        stopped = service.stopService()
        assert stopped is not None
        self.assertEqual(gateway.calls, ["start", "stop"])
        self.assertNoResult(stopped)
        gateway.stopped.callback(None)
        self.successResultOf(stopped)

    def test_stopped_while_starting(self) -> None:
        """A start that a stop cut short is no failure."""
        gateway = FakeGateway()
        service = self.service(gateway)
        service.startService()
        service.stopService()
        gateway.started.errback(StartError("interrupted"))
        self.assertEqual((service.exit_status, self.refused), (0, []))


class ExitStatusTests(SynchronousTestCase):
    """What twistd exits with."""

    LAST: ClassVar[dict[str, Any]] = {
        "log_namespace": "twisted.scripts._twistd_unix.UnixAppLogger",
        "log_format": "Server Shut Down.",
    }

    def test_after_a_refusal(self) -> None:
        """twistd's last event ends the process with the service's status, other events do not."""
        refused: list[str] = []
        service = GatewayService(FakeGateway(StartError("no")), StoppableReactor(), print, refused.append)
        service.startService()
        publish = LogPublisher(ExitStatus(service))
        publish({"log_namespace": "kgw.net", "log_format": "Server Shut Down."})
        self.assertEqual(self.assertRaises(SystemExit, publish, self.LAST).code, 2)

    def test_after_an_orderly_stop(self) -> None:
        """Nothing happens where all is well."""
        service = GatewayService(FakeGateway(), StoppableReactor(), print, print)
        LogPublisher(ExitStatus(service))(self.LAST)


class PluginTests(SynchronousTestCase):
    """twistd's list of what it can run."""

    def test_found(self) -> None:
        """C{twistd kgw} is there, with the same options as C{kgw}."""
        (maker,) = [plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "kgw"]
        self.assertIs(maker.options, Options)
        self.assertTrue(callable(maker.makeService))

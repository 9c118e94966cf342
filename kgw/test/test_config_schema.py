"""The properties of the schema registry, of what is done with records that name schemas, and who sees what of them."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config, ConfigError, ConfigSource, load
from kgw.errors import ErrorCode, KafkaError
from kgw.tap import Options

URL = "http://registry.example:8081"


class RegistryTests(SynchronousTestCase):
    """Where the registry is, and how it is asked."""

    def config(self, url: str = URL, **properties: str) -> Config:
        """A configuration with this registry, and these under C{kgw.schema.registry}, dots for underscores."""
        given = {f"kgw.schema.registry.{name.replace('_', '.')}": text for name, text in properties.items()}
        return Config({"kgw.schema.registry.url": url, **given})

    def refusal(self, url: str = URL, **properties: str) -> str:
        return str(self.assertRaises(ConfigError, self.config, url, **properties))

    def pem(self) -> str:
        """A file that is there."""
        path: str = self.mktemp()
        Path(path).touch()
        return path

    def test_none(self) -> None:
        """No registry is needed, and none is asked unless one is named."""
        self.assertEqual(Config().kgw_schema_registry_url, ())

    def test_urls(self) -> None:
        config = self.config(" http://one:8081 , https://[::1]/apis/ccompat/v7/")
        self.assertEqual(config.kgw_schema_registry_url, ("http://one:8081", "https://[::1]/apis/ccompat/v7/"))
        for wrong in (
            *("one:8081", "ftp://one", "http://", "http://one:port", "http://one:70000", "http://one/?x=1"),
            *("http://one/#x", "http://o ne", "http://one:8081;http://two:8081", "http://[::1", "http://ünï"),
        ):
            self.assertIn("is not understood; allowed: http://host:port", self.refusal(wrong), wrong)

    def test_no_secret_in_a_url(self) -> None:
        """What everybody is shown must hold none; the error does not show it either."""
        message = self.refusal("http://kgw:hush@one:8081")
        self.assertIn("set kgw.schema.registry.basic.auth.user.info=USER:PASSWORD instead", message)
        self.assertNotIn("hush", message)

    def test_who_kgw_is(self) -> None:
        """A user with a password that may be anything, or a token."""
        for user_info in ("kgw:hush", "kgw:", "kgw:a:b c ü"):
            config = self.config(basic_auth_user_info=user_info)
            self.assertEqual(config.kgw_schema_registry_basic_auth_user_info, user_info)
        for user_info in ("hush", ":hush", "kgw:hu\nsh"):
            message = self.refusal(basic_auth_user_info=user_info)
            self.assertIn("allowed: USER:PASSWORD", message)
            self.assertNotIn("hu", message.replace("kgw.schema", ""))
        self.assertIn("a token without spaces", self.refusal(bearer_auth_token="hush hush"))
        both = self.refusal(basic_auth_user_info="kgw:hush", bearer_auth_token="hush")
        self.assertIn("set one, not both", both)
        self.assertNotIn("hush", both)

    def test_secrets_are_never_shown(self) -> None:
        """Nor in what DescribeConfigs answers, with all synonyms."""
        config = self.config(basic_auth_user_info="kgw:hush")
        entries = {entry.name: entry for entry in config.describe_broker()}
        for name in ("basic.auth.user.info", "bearer.auth.token"):
            entry = entries[f"kgw.schema.registry.{name}"]
            self.assertEqual((entry.value, entry.sensitive, entry.read_only), (None, True, True))
            self.assertEqual({synonym.value for synonym in entry.synonyms}, {None})
        self.assertNotIn("hush", repr(entries.values()) + repr(config))
        self.assertEqual(entries["kgw.schema.registry.url"].value, URL)

    def test_tls(self) -> None:
        """A certificate goes with its key, files go with https, and those that are not there are told at the start."""
        pem, https = self.pem(), "https://one"
        files = {f"ssl_{name}_location": pem for name in ("ca", "certificate", "key")}
        self.config(https, **files)
        self.config(https, ssl_ca_location=pem)
        self.assertIn("needs https in every URL", self.refusal("https://one,http://two", ssl_ca_location=pem))
        needs = "needs kgw.schema.registry.ssl.key.location with it"
        self.assertIn(needs, self.refusal(https, ssl_certificate_location=pem))
        needs = "needs kgw.schema.registry.ssl.certificate.location with it"
        self.assertIn(needs, self.refusal(https, ssl_key_location=pem))
        self.assertIn("is no file that can be read", self.refusal(https, ssl_ca_location=f"{pem}-not"))

    def test_numbers(self) -> None:
        """Times and sizes have bounds."""
        for name in ("request.timeout.ms", "cache.capacity", "cache.max.bytes"):
            self.assertIn("Value must be at least 1", self.refusal(**{name.replace(".", "_"): "0"}))
        self.assertEqual(self.config(latest_cache_ttl_ms="0").kgw_schema_registry_latest_cache_ttl_ms, 0)

    def test_without_a_registry(self) -> None:
        """What it would need is not looked at, but for what cannot be done without."""
        Config({"kgw.schema.registry.ssl.ca.location": "/nowhere", "kgw.schema.validation": "strict"})
        error = self.assertRaises(ConfigError, Config, {"kgw.schema.topics.need.subject": "true"})
        self.assertIn("needs kgw.schema.registry.url (--schema-registry URL)", str(error))
        config = Config({"kgw.schema.topics.need.subject": "true", "kgw.schema.registry.url": URL})
        self.assertTrue(config.kgw_schema_topics_need_subject)


class SourcesTests(SynchronousTestCase):
    """Where it may be said."""

    def test_option(self) -> None:
        options = Options()
        options.parseOptions(["--schema-registry", "http://one:8081,http://two:8081"])
        config = options.configuration({"KGW_SCHEMA_REGISTRY_URL": "http://three:8081"})
        self.assertEqual(config.kgw_schema_registry_url, ("http://one:8081", "http://two:8081"))

    def test_option_of_no_use(self) -> None:
        """The error names the option."""
        options = Options()
        options.parseOptions(["--schema-registry", "one:8081"])
        self.assertIn("(--schema-registry)", str(self.assertRaises(ConfigError, options.configuration, {})))

    def test_environment(self) -> None:
        config = load(environ={"KGW_SCHEMA_REGISTRY_URL": URL, "KGW_SCHEMA_VALIDATION": "strict"})
        self.assertEqual(config.kgw_schema_registry_url, (URL,))
        self.assertEqual(config.kgw_schema_validation, "strict")

    def test_clients_variables(self) -> None:
        """Those of Confluent's images are for others."""
        self.assertEqual(load(environ={"KAFKA_SCHEMA_REGISTRY_URL": URL}).properties, {})


class TopicTests(SynchronousTestCase):
    """What is done with the records of a topic."""

    def test_inherited(self) -> None:
        """Topic over broker over default."""
        config = Config({"kgw.schema.subject.name.strategy": "RecordNameStrategy"})
        plain, own = config.log_config({}), config.log_config({"kgw.schema.validation": "strict"})
        self.assertEqual(plain.kgw_schema_validation, "permissive")
        self.assertEqual(plain.kgw_schema_subject_name_strategy, "RecordNameStrategy")
        self.assertEqual(own.kgw_schema_validation, "strict")

    def test_checked(self) -> None:
        """With Kafka's own sentences."""
        for name, allowed in (
            ("kgw.schema.validation", "none, permissive, strict"),
            ("kgw.schema.subject.name.strategy", "TopicNameStrategy, RecordNameStrategy, TopicRecordNameStrategy"),
        ):
            error = self.assertRaises(KafkaError, Config().validate_topic_configs, {name: "true"})
            self.assertEqual(error.code, ErrorCode.INVALID_CONFIG)
            self.assertEqual(
                error.message, f"Invalid value true for configuration {name}: String must be one of: {allowed}"
            )
            self.assertIn(f"allowed: one of: {allowed}", str(self.assertRaises(ConfigError, Config, {name: "true"})))

    def test_described(self) -> None:
        config = Config({"kgw.schema.validation": "none"})
        name = "kgw.schema.validation"
        entries = {entry.name: entry for entry in config.describe_topic({name: "strict"})}
        entry = entries[name]
        self.assertEqual((entry.value, entry.source), ("strict", ConfigSource.DYNAMIC_TOPIC_CONFIG))
        self.assertFalse(entry.read_only)
        self.assertEqual(
            entry.synonyms,
            (
                (name, "strict", ConfigSource.DYNAMIC_TOPIC_CONFIG),
                (name, "none", ConfigSource.STATIC_BROKER_CONFIG),
                (name, "permissive", ConfigSource.DEFAULT_CONFIG),
            ),
        )
        self.assertIn("columns", entry.documentation or "")

    def test_altered_while_it_runs(self) -> None:
        """For all topics that say nothing themselves, without a restart."""
        config = Config().with_dynamic({}, {"kgw.schema.validation": "strict"})
        self.assertEqual(config.log_config({}).kgw_schema_validation, "strict")
        self.assertEqual(config.log_config({"kgw.schema.validation": "none"}).kgw_schema_validation, "none")
        self.assertEqual(config.kgw_schema_validation, "strict")
        entries = {entry.name: entry for entry in config.describe_broker()}
        self.assertFalse(entries["kgw.schema.validation"].read_only)
        self.assertTrue(entries["kgw.schema.registry.url"].read_only)
        error = self.assertRaises(KafkaError, Config().with_dynamic, {"kgw.schema.registry.url": URL}, {})
        self.assertIn("Cannot update these configs dynamically", error.message)

"""The registry's client over real connections: what is kept of them, TLS, and that nothing is left of them."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet import reactor
from twisted.internet.ssl import Certificate as TwistedCertificate
from twisted.internet.ssl import CertificateOptions, KeyPair, PrivateCertificate, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from kgw.config import Config
from kgw.errors import StartError
from kgw.schema.composition import registry_of
from kgw.schema.interfaces import ISchemaRegistry
from kgw.schema.model import RegistryUnavailable, SchemaNotFound
from kgw.test.authority import Authority
from kgw.test.registry import Behaviour, StubRegistry


class RegistryCase(TestCase):
    """A registry on a socket, and a client of the configuration's."""

    def setUp(self) -> None:
        self.stub = StubRegistry()
        self.addCleanup(lambda: self.stub.stop(reactor))

    async def started(self, *urls: str, **properties: str) -> ISchemaRegistry:
        """A client of these URLs; properties with dots for underscores."""
        given = {f"kgw.schema.registry.{name.replace('_', '.')}": text for name, text in properties.items()}
        client = registry_of(Config({"kgw.schema.registry.url": ",".join(urls), **given}), reactor)
        await client.start()
        self.addCleanup(client.stop)
        return client

    async def until_asked(self, count: int) -> None:
        """Wait until the registry was asked so often."""
        while len(self.stub.asked) < count:
            await deferLater(reactor, 0)


class PlainTests(RegistryCase):
    """Without TLS."""

    async def test_answers(self) -> None:
        """Everything that can be asked, over connections that are kept."""
        client = await self.started(self.stub.listen(reactor))
        made = self.stub.book.register("a/b value", f'"{"x" * 200_000}"')
        self.assertEqual((await client.by_id(made.id)).schema.text, made.text)
        assert made.guid is not None
        self.assertEqual((await client.by_guid(made.guid)).schema.text, made.text)
        self.assertEqual((await client.latest("a/b value")).version, 1)
        self.assertTrue(await client.is_under(made.id, "a/b value"))
        self.assertTrue(await client.is_under(made.guid, "a/b value"))
        self.assertFalse(await client.exists("a"))

    async def test_first_look(self) -> None:
        """It is seen at the start whether it is there; the start does not wait for that."""
        client = await self.started(self.stub.listen(reactor))
        await self.until_asked(1)
        self.assertEqual(self.stub.uris(), ["GET /schemas/types"])
        self.assertTrue(client.state.available)

    async def test_stopped_in_the_middle(self) -> None:
        """Whoever waits is told, and no connection is left."""
        client = await self.started(self.stub.listen(reactor))
        await self.until_asked(1)
        self.stub.behaviour = Behaviour.HANGING
        waiting = client.by_id(1)
        failed = self.assertFailure(waiting, RegistryUnavailable)
        await self.until_asked(2)
        await client.stop()
        await failed

    async def test_cancelled_in_the_middle(self) -> None:
        """The connection of a question that nobody waits for is closed."""
        client = await self.started(self.stub.listen(reactor))
        await self.until_asked(1)
        self.stub.behaviour = Behaviour.HANGING
        waiting = client.by_id(1)
        waiting.addErrback(lambda _: None)
        await self.until_asked(2)
        waiting.cancel()
        self.stub.behaviour = Behaviour.WELL
        self.assertFalse(await client.exists("a"))

    async def test_trouble(self) -> None:
        """Answers that are cut, too large or late."""
        address = self.stub.listen(reactor)
        for behaviour, words in (
            (Behaviour.CUT, "onnection"),
            (Behaviour.HUGE, "an answer of more than"),
            (Behaviour.HANGING, "no answer within 0.2 s"),
        ):
            self.stub.behaviour = behaviour
            client = await self.started(address, request_timeout_ms="200" if behaviour is Behaviour.HANGING else "5000")
            # the first look has its share of it
            error = await self.assertFailure(client.by_id(1), RegistryUnavailable)
            self.assertIn(words, str(error))

    async def test_nobody_there(self) -> None:
        """The next URL answers."""
        other = StubRegistry()
        dead = other.listen(reactor)
        await other.stop(reactor)
        client = await self.started(dead, self.stub.listen(reactor))
        await self.assertFailure(client.by_id(1), SchemaNotFound)
        self.assertTrue(client.state.available)

    async def test_restarted(self) -> None:
        """Connections that were kept and are gone do no harm."""
        port = int(self.stub.listen(reactor).rpartition(":")[2])
        client = await self.started(self.stub.address)
        self.stub.book.register("a-value", '"string"')
        await client.by_id(1)
        await self.stub.stop(reactor)
        self.stub.listen(reactor, port)
        self.assertTrue(await client.exists("a-value"))

    async def test_credentials(self) -> None:
        """User and password, or a token, as the configuration has them."""
        address = self.stub.listen(reactor)
        self.stub.authorization = "Basic a2d3OnNlY3JldA=="
        client = await self.started(address, basic_auth_user_info="kgw:secret")
        self.assertFalse(await client.exists("a"))
        self.stub.authorization = "Bearer t.o.k"
        client = await self.started(address, bearer_auth_token="t.o.k")
        self.assertFalse(await client.exists("b"))


class TlsTests(RegistryCase):
    """With certificates."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority()
        self.ca = self.file(self.authority.pem)

    def file(self, pem: bytes) -> str:
        """A file that holds this."""
        path = Path(self.mktemp())
        path.write_bytes(pem)
        return str(path)

    def listen(self, name: str = "127.0.0.1", clients: bool = False) -> str:
        """Serve with a certificate for an address or a name, for clients with certificates if so."""
        try:
            also: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            also = x509.DNSName(name)
        key, certificate = self.authority.issue(name, [also])
        own = PrivateCertificate.loadPEM(key + certificate)
        options: dict[str, Any] = {}
        if clients:
            options["trustRoot"] = trustRootFromCertificates([TwistedCertificate.loadPEM(self.authority.pem)])
        context = CertificateOptions(own.privateKey.original, own.original, **options)
        return self.stub.listen(reactor, context=context)

    async def test_own_authority(self) -> None:
        client = await self.started(self.listen(), ssl_ca_location=self.ca)
        self.stub.book.register("a-value", '"string"')
        self.assertTrue(await client.exists("a-value"))

    async def test_another_authority(self) -> None:
        """A registry that others vouch for is not asked, nor is it told who kgw is."""
        stranger = self.file(Authority().pem)
        client = await self.started(self.listen(), ssl_ca_location=stranger, basic_auth_user_info="kgw:secret")
        error = await self.assertFailure(client.by_id(1), RegistryUnavailable)
        self.assertIn("certificate verify failed", str(error))
        self.assertEqual(self.stub.asked, [])

    async def test_the_systems_authorities(self) -> None:
        """Without one of its own, it must be one that the system trusts."""
        client = await self.started(self.listen())
        await self.assertFailure(client.by_id(1), RegistryUnavailable)
        self.assertEqual(self.stub.asked, [])

    async def test_another_name(self) -> None:
        """A certificate must be the one of the URL."""
        client = await self.started(self.listen("registry.example"), ssl_ca_location=self.ca)
        await self.assertFailure(client.by_id(1), RegistryUnavailable)
        self.assertEqual(self.stub.asked, [])

    async def test_own_certificate(self) -> None:
        """A registry may ask for kgw's own certificate."""
        address = self.listen(clients=True)
        client = await self.started(address, ssl_ca_location=self.ca)
        await self.assertFailure(client.by_id(1), RegistryUnavailable)
        key, certificate = self.authority.issue("kgw")
        client = await self.started(
            address,
            ssl_ca_location=self.ca,
            ssl_certificate_location=self.file(certificate + self.authority.pem),
            ssl_key_location=self.file(key),
        )
        self.assertFalse(await client.exists("a-value"))

    def refusal(self, **properties: str) -> str:
        given = {f"kgw.schema.registry.ssl.{name}.location": path for name, path in properties.items()}
        config = Config({"kgw.schema.registry.url": "https://localhost:8081", **given})
        return str(self.assertRaises(StartError, registry_of, config, reactor))

    def test_files_of_no_use(self) -> None:
        """That is told at the start."""
        key, certificate = self.authority.issue("kgw")
        other, _ = self.authority.issue("kgw")
        self.assertIn("cannot be used: no certificate is in it", self.refusal(ca=self.file(b"nothing")))
        garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        self.assertIn("cannot be used", self.refusal(ca=self.file(garbage)))
        for wrong in (b"nothing", other):
            self.assertIn("cannot be used", self.refusal(certificate=self.file(certificate), key=self.file(wrong)))
        self.assertTrue(KeyPair.load(key, 1))


class StopTests(TestCase):
    """The end."""

    async def test_again(self) -> None:
        """A client that never started stops all the same, and more than once."""
        client = registry_of(Config({"kgw.schema.registry.url": "http://127.0.0.1:1"}), reactor)
        await client.stop()
        await client.stop()

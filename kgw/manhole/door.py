"""The manhole's listener: SSH with authorised keys, beside the gateway's own listeners."""

from __future__ import annotations

import os
from typing import Any

from twisted.conch.checkers import SSHPublicKeyChecker
from twisted.conch.manhole_ssh import ConchFactory, TerminalRealm
from twisted.conch.ssh.keys import Key
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.protocols.policies import WrappingFactory
from zope.interface import implementer

from kgw.config import Config
from kgw.config.operation import private_endpoint
from kgw.engine.bridge import IBridge, ThreadBridge
from kgw.errors import StartError
from kgw.gateway import Gateway
from kgw.manhole.keys import AuthorizedKeys, host_key
from kgw.manhole.session import Channel

#: The file in the data directory that holds the host key where no other is named.
HOST_KEY = "manhole_host_key"
#: Connections at a time, logged in or not.
MOST_CONNECTIONS = 10


@implementer(IRealm)
class _Realm(TerminalRealm):
    """Gives everybody who comes in a prompt inside C{gateway}."""

    sessionFactory: Any

    def __init__(self, gateway: Gateway, bridge: IBridge) -> None:
        super().__init__()
        self._gateway = gateway
        self._bridge = bridge

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: Any) -> tuple[Any, Any, Any]:
        """See C{twisted.cred.portal.IRealm}."""
        who = repr((avatarId or b"nobody").decode("utf-8", "replace")[:60])

        def channel(original: Any) -> Channel:
            made = Channel(original)
            made.gateway, made.who, made.bridge = self._gateway, who, self._bridge
            return made

        self.sessionFactory = channel
        return super().requestAvatar(avatarId, mind, *interfaces)  # type: ignore[no-any-return]


class _Guard(WrappingFactory):
    """Refuses one connection too many; knows those there are."""

    noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        """Admit or refuse."""
        return None if len(self.protocols) >= MOST_CONNECTIONS else super().buildProtocol(addr)


def _ssh(gateway: Gateway, bridge: IBridge, authorized: AuthorizedKeys, key: Key) -> ConchFactory:
    """Conch's server, with one host key."""
    # Conch's annotation of its keys is that of another time
    factory: Any = ConchFactory(Portal(_Realm(gateway, bridge), [SSHPublicKeyChecker(authorized)]))
    factory.publicKeys = {key.sshType(): key.public()}
    factory.privateKeys = {key.sshType(): key}
    # without them, groups of fixed size are agreed on
    factory.primes = None
    made: ConchFactory = factory
    return made


class Manhole:
    """The manhole of one gateway; a L{kgw.gateway.Companion}."""

    def __init__(self, gateway: Gateway, reactor: Any) -> None:
        """
        @param gateway: its configuration names an endpoint (C{kgw.manhole.endpoint}).
        """
        self._gateway = gateway
        self._reactor = reactor
        # its one thread lives only while it is asked for something
        self._bridge = ThreadBridge(reactor, 1, name="kgw-manhole")
        self._guard: _Guard | None = None
        self._port: IListeningPort | None = None

    @property
    def port(self) -> int:
        """
        The TCP port it is bound to.

        @raise KeyError: it has none.
        """
        address: Any = self._port.getHost() if self._port is not None else None
        if not hasattr(address, "port"):
            raise KeyError("port")
        return int(address.port)

    async def start(self) -> None:
        """
        Listen.

        @raise StartError: it cannot, or its keys are not as they must be.
        """
        config = self._gateway.config
        authorized = AuthorizedKeys(config.kgw_manhole_authorized_keys_file)
        guard = self._guard = _Guard(_ssh(self._gateway, self._bridge, authorized, host_key(_host_key_file(config))))
        endpoint = config.kgw_manhole_endpoint
        try:
            self._port = await serverFromString(self._reactor, private_endpoint(endpoint)).listen(guard)
        except CannotListenError as error:
            raise StartError(f"kgw.manhole.endpoint cannot listen on {endpoint}: {error.socketError}") from error
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise StartError(f"kgw.manhole.endpoint cannot use {endpoint}: {error}") from error
        self._bridge.start()

    async def stop(self) -> None:
        """Let nobody in any more, and end all sessions."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        if self._guard is not None:
            for connection in list(self._guard.protocols):
                connection.abortConnection()
        if port is not None:
            self._bridge.stop()

    def banner(self) -> list[str]:
        """Where it is."""
        address: Any = self._port.getHost() if self._port is not None else None
        where = (
            f"{address.host}:{address.port}" if hasattr(address, "port") else self._gateway.config.kgw_manhole_endpoint
        )
        return [f"manhole {where}, for ssh"]


def _host_key_file(config: Config) -> str:
    return config.kgw_manhole_host_key_file or os.path.join(config.data_directory, HOST_KEY)

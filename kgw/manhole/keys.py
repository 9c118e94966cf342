"""The keys of the manhole: its own, and those that open it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.conch.checkers import IAuthorizedKeysDB, readAuthorizedKeyFile
from twisted.conch.ssh.keys import BadKeyError, EncryptedKeyError, Key
from twisted.logger import Logger
from zope.interface import implementer

from kgw.errors import StartError

log = Logger("kgw.manhole")

#: The file of authorised keys is no larger than this, in bytes.
_MOST_BYTES = 1 << 20


def host_key(path: str) -> Key:
    """
    The manhole's own private key; made, for the owner alone, where there is none.

    @raise StartError: it cannot be made or read, others can read it, or it is no key.
    """
    try:
        if not os.path.exists(path):
            _make(path)
        with open(path, "rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            data = stream.read(_MOST_BYTES)
    except OSError as error:
        raise StartError(f"kgw.manhole.host.key.file {path}: {error.strerror}") from error
    if mode & 0o077:
        raise StartError(f"kgw.manhole.host.key.file {path}: others can read it; chmod 600 {path}")
    try:
        key: Key = Key.fromString(data)
    except (BadKeyError, EncryptedKeyError, ValueError) as error:
        raise StartError(f"kgw.manhole.host.key.file {path}: is no private key without a passphrase") from error
    return key


def _make(path: str) -> None:
    """A new key; never half a one, and never for other eyes."""
    data = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    unfinished = f"{path}.{os.getpid()}"
    with suppress(FileNotFoundError):
        os.unlink(unfinished)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(unfinished, path)
    log.info("made the manhole's host key {path}", path=path)


@implementer(IAuthorizedKeysDB)
class AuthorizedKeys:
    """The public keys in a file, which is read at each login: whoever is taken out of it comes in no more."""

    def __init__(self, path: str) -> None:
        """
        @raise StartError: the file cannot be read, or others than its owner can write it.
        """
        self._path = path
        self._read()

    def getAuthorizedKeys(self, username: bytes) -> Iterator[Key]:
        """The keys that open the door, under whatever name somebody comes; none where the file is not as it must be."""
        try:
            lines = self._read()
        except StartError as error:
            log.error("nobody comes in: {error}", error=error)
            return iter(())
        return readAuthorizedKeyFile(lines)  # type: ignore[arg-type]

    def _read(self) -> list[bytes]:
        path = self._path
        try:
            with open(path, "rb") as stream:
                mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
                lines = stream.read(_MOST_BYTES).splitlines()
        except OSError as error:
            raise StartError(f"kgw.manhole.authorized.keys.file {path}: {error.strerror}") from error
        if mode & 0o022:
            raise StartError(f"kgw.manhole.authorized.keys.file {path}: others can write it; chmod 600 {path}")
        return lines

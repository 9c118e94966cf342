"""The tests of clients with a schema registry that runs already: C{python -m kgw.test.live.with_registry URL}.

It is told the registry's base URL, of Apicurio Registry C{http://HOST:PORT/apis/ccompat/v7}. Subjects that these tests
register stay there.
"""

from __future__ import annotations

import sys
import unittest

from kgw.test.live.registry import RegistryProcess
from kgw.test.live.test_schema_clients import ClientTests


class _Running(RegistryProcess):
    """A registry that is somebody else's."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def start(self) -> RegistryProcess:
        """It runs."""
        return self

    def stop(self) -> None:
        """It goes on running."""


def main(url: str) -> int:
    """Run the tests: 0 where none fails."""

    class Tests(ClientTests):
        """Those of L{ClientTests} that any registry should pass."""

        def found(self) -> RegistryProcess:
            """See L{SchematizedTestCase.found}."""
            return _Running(url)

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Tests)
    return int(not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].rstrip("/")))

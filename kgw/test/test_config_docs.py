"""docs/configuration.md is what the code prints."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.config.config import settings
from kgw.config.kafka import BROKER, TOPIC
from kgw.config.manual import page as manual
from kgw.test.pages import page


class ManualTests(SynchronousTestCase):
    """The page about all properties."""

    def test_page(self) -> None:
        """It is printed by C{python -m kgw.config --markdown > docs/configuration.md}."""
        self.assertEqual(page("configuration.md").splitlines(), list(manual()))

    def test_names_every_property(self) -> None:
        """Nothing that can be set is missing from it."""
        text = "\n".join(manual())
        names = {setting.definition.name for setting in settings().values()} | BROKER.keys() | TOPIC.keys()
        self.assertEqual([name for name in sorted(names) if f"`{name}`" not in text], [])

    def test_every_setting_is_explained(self) -> None:
        """A property that kgw obeys has a sentence, and a time or size its unit."""
        for setting in settings().values():
            definition = setting.definition
            self.assertTrue(definition.doc.endswith("."), definition.name)
            for suffix, unit in ((".ms", "ms"), (".bytes", "bytes"), (".hours", "hours"), (".minutes", "minutes")):
                if definition.name.endswith(suffix):
                    self.assertEqual(definition.unit, unit, definition.name)

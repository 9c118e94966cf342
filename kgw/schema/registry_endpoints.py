"""Which of several base URLs is asked first, and when one that does not answer is asked again."""

from __future__ import annotations

from collections.abc import Sequence

#: Seconds for which a URL that has failed once is not asked first, and the most after many failures.
_FIRST_S, _MOST_S = 1.0, 10.0


class Endpoints:
    """
    The URLs of one registry, a machine without time or network.

    Those that answer are asked in the order in which they were configured; one that failed is asked behind them until
    its time has passed, and it doubles with each further failure. Where all have failed, nobody is asked before that.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        """
        @param urls: at least one.
        """
        self._urls = tuple(urls)
        self._failures = dict.fromkeys(urls, 0)
        self._until = dict.fromkeys(urls, 0.0)

    def order(self, now: float) -> list[str]:
        """
        Whom to ask, one after the other until one answers.

        @param now: seconds.
        @return: empty where all have failed shortly before.
        """
        well = [url for url in self._urls if not self._failures[url]]
        ill = sorted((url for url in self._urls if self._failures[url]), key=self._until.__getitem__)
        if well or (ill and self._until[ill[0]] <= now):
            return well + ill
        return []

    def answered(self, url: str) -> None:
        """It is well."""
        self._failures[url] = 0

    def failed(self, url: str, now: float) -> None:
        """It did not answer; questions that failed together count once."""
        if self._failures[url] and self._until[url] > now:
            return
        self._failures[url] += 1
        self._until[url] = now + min(_FIRST_S * 2.0 ** min(self._failures[url] - 1, 10), _MOST_S)

"""Tables for a terminal: what a prompt shows of a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Rows that are shown, and characters of one cell.
MOST_ROWS = 200
MOST_CHARACTERS = 60


class Table:
    """
    Rows under names, in columns; numbers stand to the right.

    @ivar columns: their names.
    @ivar rows: the values, all of them, for whoever wants to work with them.
    """

    def __init__(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        empty: str = "nothing",
        most: int = MOST_CHARACTERS,
    ) -> None:
        """
        @param empty: what is shown where there are no rows.
        @param most: characters of one cell.
        """
        self.columns = tuple(columns)
        self.rows = [tuple(row) for row in rows]
        self._empty = empty
        self._most = most

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        if not self.rows:
            return self._empty
        shown = self.rows[:MOST_ROWS]
        cells = [[_cell(value, self._most) for value in row] for row in shown]
        widths = [max(len(name), *(len(row[at]) for row in cells)) for at, name in enumerate(self.columns)]
        right = [all(isinstance(row[at], int | float) for row in shown) for at in range(len(self.columns))]
        lines = [
            "  ".join(
                text.rjust(width) if number else text.ljust(width)
                for text, width, number in zip(row, widths, right, strict=True)
            ).rstrip()
            for row in [list(self.columns), *cells]
        ]
        if len(self.rows) > MOST_ROWS:
            lines.append(f"... and {len(self.rows) - MOST_ROWS} more")
        return "\n".join(lines)


class Page:
    """Several texts and tables below one another."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts

    def __repr__(self) -> str:
        return "\n".join(part if isinstance(part, str) else repr(part) for part in self.parts)


def _cell(value: object, most: int) -> str:
    """A value in one line, without characters that a terminal could obey."""
    if value is None or value == "":
        return "-"
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    if len(text) > most:
        text = text[: most - 3] + "..."
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)

"""Prompts: a template over columns, checked when a pipeline is built, filled once for each document.

A template is text with the names of columns in braces, ``{text}``, and doubled braces where braces are meant. Nothing
else is allowed inside braces: no attributes, indices, conversions or formats, so that a template can show what a column
holds and nothing more. Refused are templates that name no column, or something that is no plain name.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

_PLAIN_NAME = re.compile(r"\w+(?:-\w+)*")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A template in pieces.

    Args:
        pieces: text, and behind it the column whose value follows; ``None`` behind the last text.
    """

    pieces: tuple[tuple[str, str | None], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names, each once, in order."""
        return tuple(dict.fromkeys(column for _, column in self.pieces if column is not None))

    def fill(self, table: pa.Table, max_characters: int | None = None) -> list[str]:
        """One prompt for each row.

        Args:
            table: has all columns that the template names.
            max_characters: of each value; the rest is cut off. ``None`` cuts nothing.

        Returns:
            The prompts, in the order of the rows; a missing value is an empty text.

        Example:
            >>> parse_template("Rate {text}").fill(pa.table({"text": ["one", None]}))
            ['Rate one', 'Rate ']
        """
        values = {column: _texts(table[column], max_characters) for column in self.columns}
        prompts = []
        for row in range(table.num_rows):
            parts = []
            for text, column in self.pieces:
                parts.append(text)
                if column is not None:
                    parts.append(values[column][row])
            prompts.append("".join(parts))
        return prompts


def parse_template(template: str) -> PromptTemplate:
    """Take a template apart.

    Args:
        template: text with ``{column}``.

    Raises:
        ValueError: it is no template, with the reason.

    Example:
        >>> parse_template("{title}: {text}").pieces
        (('', 'title'), (': ', 'text'))
        >>> parse_template("{text.__class__}")
        Traceback (most recent call last):
        ...
        ValueError: '{text.__class__}' is no plain name of a column. Write {text}, and {{ }} where braces are meant.
    """
    pieces: list[tuple[str, str | None]] = []
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{error}. Write {{text}} for a column, and {{{{ }}}} where braces are meant.") from None
    for text, name, form, conversion in parsed:
        if name is not None and (form or conversion or not _PLAIN_NAME.fullmatch(name)):
            shown = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            plain = match[0] if (match := _PLAIN_NAME.match(name)) else "text"
            raise ValueError(
                f"'{{{shown}}}' is no plain name of a column. Write {{{plain}}}, and {{{{ }}}} where braces are meant."
            )
        pieces.append((text, name))
    if not any(name for _, name in pieces):
        raise ValueError("names no column, so all documents would be asked the same. Write {text} where it belongs.")
    return PromptTemplate(tuple(pieces))


def _texts(column: pa.ChunkedArray, max_characters: int | None) -> Sequence[str]:
    return ["" if value is None else str(value)[:max_characters] for value in column.to_pylist()]

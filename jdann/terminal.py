"""Text for the terminal and for messages, whatever names it holds."""

import logging
from collections.abc import Sequence


def visible(text: str) -> str:
    """The text with control characters as escapes, so that no name can control the terminal.

    Line breaks and tabs stay.
    """
    return "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def listed(names: Sequence[str], most: int = 10) -> str:
    """Names with commas between them; of more than `most`, only these and how many there are."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"


class VisibleFormatter(logging.Formatter):
    """Formats messages with control characters as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        """The message as `logging.Formatter` formats it, made visible."""
        return visible(super().format(record))

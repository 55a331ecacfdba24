"""Text for the terminal and for messages, whatever names it holds."""

import logging
import unicodedata
from collections.abc import Sequence

# Unicode's categories of control characters and halves of surrogate pairs, and characters that
# break lines or change the direction of writing.
_CONTROL = ("Cc", "Cs")
_BREAKS = frozenset(
    "\u2028\u2029\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def visible(text: str) -> str:
    """The text with control characters as escapes, so that no name can control the terminal.

    Line breaks and tabs stay.
    """
    return "".join(
        character.encode("unicode_escape", "surrogatepass").decode("ascii")
        if _is_control(character)
        else character
        for character in text
    )


def _is_control(character: str) -> bool:
    if character in "\n\t":
        return False
    return character in _BREAKS or unicodedata.category(character) in _CONTROL


def counted(count: int, noun: str) -> str:
    """A number with a noun, such as "1 file" or "2,000 files"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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

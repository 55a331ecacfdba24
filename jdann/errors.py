"""Exceptions: mistakes that a user can mend, and training that diverges."""


class InputError(Exception):
    """A file or a value that the user gave cannot be used.

    The message is one line. It names the file or value, what was expected, and what to do. The
    command line prints it and exits with status 2.
    """

    def __str__(self) -> str:
        # It may quote a cell or a name that holds line breaks.
        return " ".join(super().__str__().splitlines())


class DivergenceError(Exception):
    """Training gave a number that is not finite; the message names the seed and the step."""

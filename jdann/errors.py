"""The one exception for mistakes that a user can mend."""


class InputError(Exception):
    """Something given to jdann cannot be used.

    The message is one line that names the file or value, says what was expected and what to do. The command line prints
    it and exits with status 2.
    """


class DivergenceError(Exception):
    """Training produced a number that is not finite. The message names the seed and the step."""

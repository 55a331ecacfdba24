"""The running server that the tests of this folder share."""

from importlib.util import find_spec

if find_spec("starlette"):  # without it the tests of this folder are skipped
    from tests.support.serving import server

    __all__ = ["server"]

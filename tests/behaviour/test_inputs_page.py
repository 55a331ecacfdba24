"""The tables of docs/inputs.md say what jdann does."""

import pytest

from jdann import ffmpeg
from tests.support.inputs_page import PAGE, TABLES, draw, table_in

SLOW = ("formats", "ffmpeg")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in TABLES],
)
def test_the_page_says_what_jdann_does(name):
    """`python -m tests.support.inputs_page` draws the tables anew."""
    if name == "ffmpeg" and ffmpeg.find() is None:
        pytest.skip("ffmpeg is not installed")
    assert draw(name) == table_in(PAGE.read_text(encoding="utf-8"), name)

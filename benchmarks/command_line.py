"""The command line that the benchmark scripts have in common."""

import argparse


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows the docstring of a script as its help and knows `--tiny`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    return parser

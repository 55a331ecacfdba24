"""`jdann encoders`."""

from argparse import Namespace
from pathlib import Path

import jax
from rich import box
from rich.table import Table
from rich.text import Text

from jdann.commands.printing import print_table
from jdann.commands.reading import data_dir
from jdann.pretrained.catalogue import CATALOGUE, RESEMBLYZER, Published
from jdann.pretrained.load import FAMILIES, find_on_machine, load_encoder


def execute(arguments: Namespace) -> int:
    """Prints what is known about encoders; nothing is fetched."""
    folder = data_dir(arguments)
    if arguments.encoder is None:
        print_table(_all_encoders(folder))
        print(f"Any other encoder of these families can be used, too: {', '.join(FAMILIES)}.")
        print("Give a folder or an id of the Hub; jdann encoders NAME says more about one.")
    else:
        _describe(arguments.encoder, folder)
    return 0


def _all_encoders(data_dir: Path) -> Table:
    """One row for each encoder, in sections of families; it fits a terminal of 80 columns."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Encoder", no_wrap=True)
    table.add_column("Size", no_wrap=True)
    table.add_column("Here", no_wrap=True)
    table.add_column("Licence, languages, and what it was trained on")
    family = ""
    for name, known in CATALOGUE.items():
        if known.family != family:
            family = known.family
            table.add_section()
            table.add_row(Text(family, style="bold"))
        about = f"{known.licence}; {_languages(known)}; {known.trained_on}"
        table.add_row(name, f"{known.megabytes} MB", _is_here(name, known, data_dir), about)
    return table


def _languages(known: Published) -> str:
    return f"{known.languages} languages" if known.languages.isdecimal() else known.languages


def _is_here(name: str, known: Published, data_dir: Path) -> str:
    if name != RESEMBLYZER and find_on_machine(name, data_dir) is not None:
        return "yes"
    return "no" if known.package is None else "by pip"


def _describe(name: str, data_dir: Path) -> None:
    """Prints what is known about one encoder, then what its files say."""
    known = CATALOGUE.get(name.partition("@")[0])
    if known is not None:
        _print_rows(_published_rows(name, known))
    if name == RESEMBLYZER:
        return
    folder = find_on_machine(name, data_dir)
    if folder is None:
        print(f"{name} is not on this machine. It is fetched when it is first used.")
        return
    _print_rows(_file_rows(name, folder, data_dir))


def _published_rows(name: str, known: Published) -> dict[str, str]:
    rows = {
        "encoder": name,
        "family": known.family,
        "parameters": f"{known.parameters_m:g} M in the whole model",
        "size": f"{known.megabytes} MB",
        "licence": known.licence,
        "languages": known.languages,
        "trained on": known.trained_on,
        "emotional corpora": f"{known.emotional_corpora}"
        + (" among what it was trained on" if known.emotional_corpora == "none" else ""),
        "source": known.source,
    }
    if known.package is not None:
        rows["from"] = f"the package {known.package}, which pip fetches"
    return rows


def _file_rows(name: str, folder: Path, data_dir: Path) -> dict[str, str]:
    encoder = load_encoder(name, data_dir)
    network = encoder.architecture
    parameters = sum(leaf.size for leaf in jax.tree_util.tree_leaves(encoder.params))
    return {
        "files": str(folder),
        "network": f"{network.family}, {network.layers - 1} blocks, {network.layers} hidden states "
        f"of width {network.width}",
        "frames": f"{16000 / network.samples_per_frame:g} per second",
        "used parameters": f"{parameters:,}",
        "digest": encoder.digest,
    }


def _print_rows(rows: dict[str, str]) -> None:
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", min_width=17)
    table.add_column()
    for row in rows.items():
        table.add_row(*row)
    print_table(table)

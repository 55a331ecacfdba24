"""`jdann corpora`."""

from argparse import Namespace

from jdann import corpora
from jdann.commands.printing import print_table
from jdann.commands.reading import data_dir
from jdann.corpora import demo, prepared
from jdann.report.table import render_summaries


def execute(arguments: Namespace) -> int:
    """Prints what corpora hold, by default those that are prepared."""
    folder = data_dir(arguments)
    names = list(arguments.corpus)
    if not names:
        names += ["esd:en", "esd:zh"] if prepared.is_prepared(folder) else []
        names += ["demo:en", "demo:zh"] if demo.folder(folder).exists() else []
    if not names:
        print(f"No corpus is prepared in {folder}.")
        print("jdann prepare esd FOLDER and jdann prepare demo do that.")
        print("Any folder or manifest can be listed: jdann corpora FOLDER list.csv")
        return 0
    naming = corpora.make_naming(arguments.layout, arguments.labels)
    namings = corpora.namings_of_each(naming, names)
    loaded = [
        corpora.load(name, corpora.EMOTIONS, folder, of_name)
        for name, of_name in zip(names, namings, strict=True)
    ]
    print_table(render_summaries([corpora.describe(corpus) for corpus in loaded]))
    return 0

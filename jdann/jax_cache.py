"""Mends JAX's cache of compiled programs.

JAX writes a program straight into its place. A process that is killed then leaves a part of it,
which each later process would complain about and never replace.
"""

import glob
import re
import warnings
from pathlib import Path
from typing import Any

_DAMAGED = re.compile(r"Error reading persistent compilation cache entry for '(.+?)'")


def remove_damaged() -> None:
    """Lets this process remove programs that JAX cannot read, so that it writes them again."""
    show = warnings.showwarning

    def remove_or_show(message: Warning | str, *details: Any) -> None:
        import jax  # not at the top: the command line, which imports this, has to start at once

        damaged = _DAMAGED.match(str(message))
        folder = jax.config.jax_compilation_cache_dir  # pyright: ignore
        if damaged is None or not folder or "://" in folder:
            show(message, *details)
            return
        # JAX tells the name of the program without the digest that follows it.
        for path in Path(folder).glob(f"{glob.escape(damaged[1])}-*-cache"):
            path.unlink(missing_ok=True)

    warnings.showwarning = remove_or_show

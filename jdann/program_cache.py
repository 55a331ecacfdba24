"""Keeps programs between processes: each is traced once on a machine, and compiled once.

Tracing takes a hundred times as long as running. So traced programs are kept as StableHLO
(`jax.export`) in the folder where JAX keeps compiled programs, which its option
`jax_compilation_cache_dir` names. The file name holds a digest of everything that the program
depends on. A damaged file is replaced. Where no file can be written, each process traces again.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax import export
from jax.experimental.compilation_cache import compilation_cache

from jdann.files import write_bytes

LEAST_COMPILE_S = 0.2  # JAX keeps programs that take longer to compile than this
_PACKAGES = ("jax", "jaxlib", "flax", "librosa", "numpy", "scipy")
_DIGEST_SIZE = 16  # bytes


def default_cache_dir() -> Path:
    """Where jdann keeps compiled programs if the user chose no folder.

    Raises:
      RuntimeError: this user has no home folder.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jdann" / "xla"


def keep_programs() -> None:
    """Makes JAX keep compiled programs in `default_cache_dir`, unless the user has chosen.

    The environment variables JAX_COMPILATION_CACHE_DIR (an empty one too) and
    JAX_ENABLE_COMPILATION_CACHE are choices, and so are these options in `jax.config`. Nothing
    happens where the folder cannot be written.
    """
    enabled = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    if _cache_dir() or not enabled or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = default_cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return
    if not os.access(folder, os.W_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_COMPILE_S)
    # JAX reads the folder at its first compilation only, and that may have been before.
    compilation_cache.reset_cache()


def compile_program(
    name: str,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    depends_on: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """Compiles a pure function for arguments of these shapes, and traces it only if it must.

    Args:
      name: of the program; its file begins with it.
      function: of arrays; it returns an array or a plain tuple, because `jax.export` knows no
        other ones.
      arguments: arrays, or trees of them.
      depends_on: settings that change the program, besides its source and the shapes.

    Returns:
      The compiled function.
    """
    folder = _folder()
    if folder is None:
        return jax.jit(function).lower(*arguments).compile()
    path = folder / f"{name}-{_digest(name, arguments, depends_on)}.stablehlo"
    program = _read(path)
    if program is None:
        program = export.export(jax.jit(function))(*arguments)
        _write(path, bytes(program.serialize()))
    return jax.jit(program.call).lower(*arguments).compile()


def _digest(name: str, arguments: tuple[Any, ...], depends_on: tuple[str, ...]) -> str:
    leaves, structure = jax.tree.flatten(arguments)
    everything = (
        name,
        *depends_on,
        str(structure),
        *(f"{leaf.dtype}{leaf.shape}" for leaf in leaves),
        jax.default_backend(),
        str(jax.config.jax_enable_x64),  # pyright: ignore[reportAttributeAccessIssue]
        str(jax.config.jax_default_matmul_precision),  # pyright: ignore
        _source(),
        *map(version, _PACKAGES),
    )
    return hashlib.blake2b("\n".join(everything).encode(), digest_size=_DIGEST_SIZE).hexdigest()


def _cache_dir() -> str | None:
    """Where JAX keeps compiled programs; None or empty: nowhere."""
    return jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]


def _folder() -> Path | None:
    """Where traced programs are kept; None: nowhere."""
    folder = _cache_dir()
    return None if not folder or "://" in folder else Path(folder) / "traced"


@cache
def _source() -> str:
    """A digest of the whole package's source, so that a changed source makes new programs."""
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> export.Exported | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, program = data[:_DIGEST_SIZE], data[_DIGEST_SIZE:]
    if hashlib.blake2b(program, digest_size=_DIGEST_SIZE).digest() != digest:
        return None
    return export.deserialize(bytearray(program))


def _write(path: Path, program: bytes) -> None:
    digest = hashlib.blake2b(program, digest_size=_DIGEST_SIZE).digest()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, digest + program)
    except OSError:  # on a full or read-only disk the next process traces again, in two seconds
        return

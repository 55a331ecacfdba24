"""How the program ends when it is asked to: in one line, with the right status, at any moment.

While a command works, SIGINT and SIGTERM raise `KeyboardInterrupt`, so that files are closed and
processes ended. At any other time there is nothing to put in order, and a traceback of an import
would tell nobody anything: the program says its line and ends.
"""

import atexit
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
PARENT = "JDANN_PARENT"  # variable of the environment: a process id; see `end_with_parent`
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


class _Watch:
    """What the handlers know."""

    message = ""  # the line that the program ends with
    working = False  # whether a command works, and would be told by KeyboardInterrupt
    received: int | None = None  # the first signal, once a command was told
    others_wait = False  # whether a failure has to end this process without Python's shutdown


_watch = _Watch()


def watch(message: str) -> None:
    """Sets the handlers of the program; `message` is the line that it ends with."""
    _watch.message = message
    _replace_handlers(_on_signal)
    # The first that is registered runs last. After it Python takes its handlers away, and a signal
    # while libraries are unloaded would end the program with another status.
    atexit.register(_replace_handlers, signal.SIG_IGN)
    sys.unraisablehook = _on_unraisable


def end_with_parent() -> None:
    """Ends this program as SIGTERM does when its parent dies, if the parent has asked for that.

    A parent asks by the variable `PARENT`, which holds its process id. Only Linux can do it.
    """
    parent = os.environ.pop(PARENT, None)  # processes that this one starts are not meant
    if parent is None or sys.platform != "linux":
        return
    import ctypes  # not at the top: most programs do not need it

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it has died before
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def orderly() -> Iterator[None]:
    """A signal raises `KeyboardInterrupt` meanwhile; a second one ends the program at once."""
    _watch.working = True
    try:
        yield
    finally:
        _watch.working = False


@contextmanager
def left_to_this_process() -> Iterator[None]:
    """Processes that are started meanwhile get no interrupt of the terminal: this one ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # they inherit it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def expect_others() -> None:
    """Tells that this is one of several processes, for which Python's shutdown would wait.

    From now on, a failure ends the program at once.
    """
    _watch.others_wait = True


def status_of(error: BaseException) -> int:
    """The exit status after an interruption, 0 for any other error.

    A library may turn `KeyboardInterrupt` into an error of its own.
    """
    if _watch.received is not None:
        return 128 + _watch.received
    return 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 0


def end_program(status: str | int | None) -> NoReturn:
    """Ends the program, whose line has been printed; `status` is as for `sys.exit`."""
    number = status if isinstance(status, int) else int(status is not None)
    interrupted = _watch.received is not None and number == 128 + _watch.received
    if interrupted or (number and _watch.others_wait):
        _end_at_once(number)
    # The work is done, so a signal only hastens the end.
    _replace_handlers(lambda *_: _end_at_once(number))
    sys.exit(status)


def _replace_handlers(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell's `&` sets SIGINT
            signal.signal(number, handler)


def _on_signal(number: int, frame: FrameType | None) -> None:
    del frame
    if _watch.working and _watch.received is None:
        _watch.received = number
        raise KeyboardInterrupt
    if _watch.working or _watch.received is None:
        _say_and_end(_watch.received or number)
    # Else the command has been told, has put its files in order, and the program is about to end.


def _on_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Ends the program where Python would print a `KeyboardInterrupt` and go on.

    It does so with errors in callbacks, for example of the garbage collector.
    """
    if _watch.received is not None and issubclass(unraisable.exc_type, KeyboardInterrupt):
        _say_and_end(_watch.received)
    sys.__unraisablehook__(unraisable)


def _say_and_end(number: int) -> NoReturn:
    with suppress(OSError):
        # Not by `print`: the signal may have come while the program was printing.
        os.write(2, f"jdann: {_watch.message}\n".encode())
    _end_at_once(128 + number)


def _end_at_once(status: int) -> NoReturn:
    """Ends the process without Python's shutdown; what was printed arrives."""
    with suppress(Exception):
        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)

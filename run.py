"""Trains a recogniser: `python run.py --config configs/en2zh.py`.

It is the same program as the installed command `jdann`.
"""

from jdann.cli import run_program

if __name__ == "__main__":
    run_program()

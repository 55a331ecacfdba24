"""Trains a recogniser: `python run.py --config configs/en2zh.py`.

It is the same program as the installed command `jdann`.
"""

from jdann.cli import main

if __name__ == "__main__":
    main()

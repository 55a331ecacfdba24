"""Trains a recogniser: `python run.py --config configs/en2zh.py`. The same program as the installed `jdann` command."""

from jdann.cli import main

if __name__ == "__main__":
    main()

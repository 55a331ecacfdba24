"""`python -m jdann` is the command line."""

from jdann.cli import main

if __name__ == "__main__":
    main()

"""`python -m jdann` is the command line."""

from jdann.cli import run_program

if __name__ == "__main__":
    run_program()

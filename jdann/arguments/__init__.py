"""What each command of the command line takes; `parser.py` lists the commands."""

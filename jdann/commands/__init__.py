"""What each command of the command line does; `jdann/cli.py` imports the one that is asked for."""

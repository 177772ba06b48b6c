"""`python -m pocketsam` is the command `pocketsam`."""

from pocketsam.cli.app import main

main()

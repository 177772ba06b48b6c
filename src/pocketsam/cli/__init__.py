"""The command line: one short file for each command. Slow imports are inside the commands."""

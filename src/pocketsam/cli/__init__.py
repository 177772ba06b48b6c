"""The command line: one thin file a command. What is slow to import is imported inside the commands."""

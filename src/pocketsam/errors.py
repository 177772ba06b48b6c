"""What can go wrong on the user's side. Each message is one line: where, what is wrong, what to do about it.

The command line prints that line and exits with 2. Any other exception is a fault of ours and keeps its
traceback.
"""


class PocketSAMError(Exception):
    """The base of the errors that a user can mend."""


class InputError(PocketSAMError):
    """A photo, a prompt, a data file or an output path cannot be used."""


class DataError(InputError):
    """A sample of a dataset cannot be used; the line names its file."""


class ModelError(PocketSAMError):
    """A model is unknown, or its files are missing, damaged or not those of a PocketSAM model."""

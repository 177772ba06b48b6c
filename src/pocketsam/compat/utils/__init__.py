"""Functions that the published package has beside its models."""

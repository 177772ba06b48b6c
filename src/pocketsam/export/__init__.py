"""From PyTorch to files that run without it."""

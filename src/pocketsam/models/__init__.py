"""The networks, in PyTorch: one file an architecture, in the published state-dict layouts."""

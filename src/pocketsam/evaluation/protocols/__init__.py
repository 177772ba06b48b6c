"""The protocols, a file each."""

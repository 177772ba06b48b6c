"""Image encoders, an architecture a file."""

"""Training: each method in one readable file, one loop for all."""

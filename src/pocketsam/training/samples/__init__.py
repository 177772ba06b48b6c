"""What models are trained on: streams of samples by number, a file for each kind."""

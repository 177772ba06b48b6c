"""What can be trained: a method a file."""

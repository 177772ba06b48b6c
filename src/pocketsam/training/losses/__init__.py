"""What methods learn from: the loss of a batch, a file for each method, and the functions that it consists of."""

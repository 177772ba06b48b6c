"""What people do with masks: a file or a folder for each application, on the same encoder and decoder."""

"""What knows nothing of segmentation: files, downloads, run lengths."""

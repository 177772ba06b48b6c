"""Helpers that do not depend on segmentation: files, downloads, journals, run lengths."""

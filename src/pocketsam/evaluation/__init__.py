"""Protocols that measure a model. They take a Segmenter, and so any engine."""

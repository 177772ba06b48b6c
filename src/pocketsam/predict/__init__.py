"""A photo and prompts to masks."""

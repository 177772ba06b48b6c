"""Photos with masks: the readers, and what training draws from them."""

"""A teacher's embeddings, stored once for training students."""

"""The same jobs over tar shards and object stores, on one machine or on many with Ray: millions of photos."""

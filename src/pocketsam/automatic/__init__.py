"""No prompt: proposals for all that is in a photo, or in many."""

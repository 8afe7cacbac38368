"""A model or release asked about the images of a split, and what its answers are worth."""

"""Captions from a teacher model behind an OpenAI-compatible endpoint."""

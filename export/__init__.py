"""From a trained model to a release: GGUF pair, agreement with its source, manifest.

Runs on a workstation from a checkout; the clinic never imports it.
"""

"""Makes the model: data sets, captions, the demonstration base model, evaluation.

Runs on a workstation from a checkout; the clinic never imports it.
"""

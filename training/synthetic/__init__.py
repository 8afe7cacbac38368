"""Synthetic pictures: drawn by a diffusion model from a label and a caption, marked as synthetic.

For training and teaching on the workstation only; the clinic never imports this.
"""

"""Where one is: one file a screen, its style sheet beside it."""

"""What one sees: one file a widget."""

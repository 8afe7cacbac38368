"""Teaching a captioner to judge whether a treatment fits a picture."""

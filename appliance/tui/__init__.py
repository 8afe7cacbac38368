"""The screen at the clinic: a Textual program over the same ports as the commands."""

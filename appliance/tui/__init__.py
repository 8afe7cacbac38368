"""The screen: what a person at the clinic's terminal sees and presses."""

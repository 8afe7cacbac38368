"""The USB kit: build, verify, install, go back."""

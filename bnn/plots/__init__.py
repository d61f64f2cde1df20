"""Figures of runs and of what the layers of a network respond to. No function touches a file."""

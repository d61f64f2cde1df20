"""One update, the loop around it, evaluation and checkpoints. Knows a Tracker protocol and no tracking library."""

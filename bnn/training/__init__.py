"""Training: steps, the loop around them, callbacks and checkpoints, without a tracking library."""

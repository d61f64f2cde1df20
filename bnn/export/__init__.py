"""Trained networks outside of torch: files of packed bits with a NumPy runner, and ONNX."""

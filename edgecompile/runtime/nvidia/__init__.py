"""Shared code of the backends of TensorRT and TensorRT-RTX: the CUDA driver, building and running engines."""

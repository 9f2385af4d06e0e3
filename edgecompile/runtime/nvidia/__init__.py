"""What the backends of TensorRT and TensorRT-RTX share: the CUDA driver, building an engine, running one."""

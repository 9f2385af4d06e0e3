"""Reading, comparing and rewriting ONNX graphs. Imported by step functions only: needs onnx, numpy and ONNX Runtime."""

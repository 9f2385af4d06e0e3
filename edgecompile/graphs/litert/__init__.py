"""LiteRT's models (TensorFlow Lite): written from ONNX graphs, and read again to count their layers."""

FILE = "model.tflite"
"""Name of the file of an artifact."""

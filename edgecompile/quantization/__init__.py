"""Post-training quantization: calibration, placement of Q/DQ nodes, and NNCF. Imported by step functions only."""

"""What an artifact is worth: accuracy, distance, latency, memory, power, and the gates on them. Step functions."""

"""Settings for builds whose latency no test judges: other tests run beside, so it would be noisy, measured three times
and never kept."""

ROUGH = ("measurement.seconds=0.1", "measurement.tolerance=10")
SECTION = "measurement: {seconds: 0.1, tolerance: 10}\n"
"""The same in a recipe."""

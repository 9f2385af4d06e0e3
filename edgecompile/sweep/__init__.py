"""Sweeps: plan, progress, objectives and report of many points."""

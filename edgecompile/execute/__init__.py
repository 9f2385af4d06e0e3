"""Runs a plan: each step once, in a process of its own, its result kept in a store that all processes share.

`runner.execute` runs a plan and `plan_status.plan_status` says what it would run; `store.Store` keeps results by the
digest of all that leads to them. Nothing here imports torch, onnx or numpy: only the worker process of a step does,
through the step's function.
"""

"""What is published: one deterministic zip of the artifact, its manifest, its lock, golden vectors and a report.

`assemble.py` turns what a build found into documents, `package.py` is the step that packs them, `writer.py` writes the
zip. The reader is part of the runtime (`edgecompile.runtime.archive`), because devices need it and nothing else here.
"""

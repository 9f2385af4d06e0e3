"""Devices that can be reached by ssh: a bundle and the runtime are copied there, and verbs run there.

Reaches them with the system's own `ssh`, so that people's configuration, keys and known hosts apply.
"""

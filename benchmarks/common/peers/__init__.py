"""Pipelines that are compared: each scores the same scans, in a process of its own (`child`)."""

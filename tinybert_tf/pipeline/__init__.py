"""Pipelines: the quickstart, all steps of a task, comparisons, frontiers."""

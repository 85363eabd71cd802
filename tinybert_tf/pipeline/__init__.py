"""Whole jobs in one call: the quickstart, and everything for one task."""

"""Training: optimizer, strategies, runs and stages."""

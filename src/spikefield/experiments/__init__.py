"""Whole experiments: every stage in order, kept and reused."""

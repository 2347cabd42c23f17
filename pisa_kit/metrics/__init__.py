"""From masks to numbers and verdicts: released and corrected metrics, fall time and gravity, statistics.

May import from `sim` and below, not from `models`.
"""

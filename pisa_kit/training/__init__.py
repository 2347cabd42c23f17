"""One loop and what it is handed: PSFT, reward tuning (ORO), pre-training of everything that ships.

May import from `models`, `metrics` and below.
"""

"""What is dropped and filmed: scenes, MuJoCo, exact truth, reference predictors, data sets.

May import from `perception` (the best guess is a net) and below.
"""

"""Figures from arrays and tables, and widgets over them.

May import from `training` and below; it trains nothing, and loads nothing but clips and nets.
"""

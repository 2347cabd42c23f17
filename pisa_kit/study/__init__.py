"""The study: presets, where artefacts are kept, notebooks run headless, the report.

May import from everything but `viz` and `cli`.
"""

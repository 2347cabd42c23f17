"""Image-to-video models: the embedded one and the zoo, first-frame condition, sampler, codec, generation.

May import from `sim` and below, not from `metrics`.
"""

"""pisa_kit: can post-training teach a video diffusion model how things fall?"""

__version__ = "0.1.0"

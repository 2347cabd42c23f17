"""pisa_kit: can post-training teach a video diffusion model how things fall?

"PISA" in docstrings is "PISA Experiments: Exploring Physics Post-Training for Video Diffusion Models by Watching Stuff
Drop" (Li et al., ICML 2025, arXiv 2503.09595); "released" means the code and data its authors published.
"""

import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # no advice about optional packages that are not needed

__version__ = "0.1.0"

"""What a clip is, and how it gets onto a disk and back: PisaBench's layouts, zips, videos, our own npz.

May import from `core`.
"""

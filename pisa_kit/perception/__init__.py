"""Who is where, what moves, how far: trackers, flow, depth; the nets that ship, and real ones behind the same calls.

May import from `clips` and below.
"""

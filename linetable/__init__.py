"""The line table that a program carries for its own backtraces: made while linking (`encode`), read
when it fails (`reader`). The core and libos share it; it imports neither.
"""

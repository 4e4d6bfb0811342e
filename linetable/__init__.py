"""What a program carries to report its own failure: the line table for its backtraces, made while
linking (`encode`), read when it fails (`reader`), and the text of a failed check (`panic_text`).
The core and libos share it; it imports neither.
"""

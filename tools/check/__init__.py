"""`make check`: what a contributor wants to know within a minute, without an image or a machine."""

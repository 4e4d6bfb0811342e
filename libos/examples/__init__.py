"""Toy kernels: each file is a whole program on libos."""

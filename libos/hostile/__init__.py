"""A hostile kernel: it does to the hypervisor whatever a guest should not, and tells the
answers.
"""

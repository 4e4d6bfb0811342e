"""The kernel that measures: a libos program that boots as domain 0's kernel on either
hypervisor.
"""

"""The mutation check: removing any one check from the core makes an in-process test fail.

`python -m tests.mutation --help` says how to run it; checks.txt is its last full result.
"""

"""The store daemon: a small tree of strings that domains share to find each other's devices.

`tree` and `store` are pure (nodes, permissions, transactions), `watches` and `session` give one
client its view of them, `ring` and `local` carry packets, `daemon` knows the domains.
"""

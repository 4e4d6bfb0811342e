"""Traces of the hypervisor for people: from the bytes of its rings to names, times and pictures.

`records` splits a trace file, `events` names what is in a record, `state` finds out who ran where;
`chrome` (for Perfetto), `text` and `summary` write it down.
"""

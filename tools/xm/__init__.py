"""xm: manage domains from the command line, on the developer's machine or in dom0.

`cfg` reads domain files, `description` turns one into xend's JSON, `client` and `websocket` speak
to xend, `terminal` is the console, `output` prints, `commands` has one function per command. Only
the standard library is used.
"""

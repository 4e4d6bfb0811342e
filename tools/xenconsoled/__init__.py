"""The console daemon: reads what guests print, keeps it, and passes it on.

It runs inside xend, whose consoles it serves; `ring` is the shared page, `console` one domain's
console, `consoles` all of them.
"""

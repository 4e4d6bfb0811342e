"""xend: the daemon in dom0 that manages domains over HTTP.

From the bottom: `elf` and `bzimage` read kernels, `layout`, `pagetables` and `builder` make a
paravirtual domain of one, `disks`, `network` and `devices` give it devices, `crash` explains its
end (with `symbolize`, in a process of its own), `manager` ties a domain's life together, `config`
checks what a client asks for, and `api` speaks HTTP as openapi.json says.
"""

# What dom0 does in `make run SEED=n`, sourced when it is ready: run the example on a disk in memory
# (dom0 makes a loop device of the file), tell what came of it, and power off. The lines "proxen: ..."
# are read by tools/run/repeat.py.
milestone "the domain starts"
PYTHONPATH=/opt/proxen python3 -m xm run /job/readfile.cfg \
    'kernel="/job/readfile.elf"' 'disk=["dom0:/job/disk.img,raw,xvda,rw"]' </dev/null >/dev/console 2>&1
milestone "the domain ended with $?"
milestone "last sector $(tail -c 512 /job/disk.img | sha256sum | cut -c 1-64)"
poweroff -f

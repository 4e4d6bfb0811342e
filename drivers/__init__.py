"""The split drivers' front ends, for libos programs: the back ends are in dom0."""

"""Kernels that test the hypervisor from inside a guest; they run on real Xen 4.17 as well."""

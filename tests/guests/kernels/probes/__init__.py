"""Wrong requests to the hypervisor, one by one, whose answers real Xen 4.17 has given before."""

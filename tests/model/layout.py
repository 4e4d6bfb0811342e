"""Small helps to read the core's structures."""


def vcpus_of(domain):
    """Return a domain's vCPUs by number."""
    found = {}
    for number in range(domain.max_vcpus):
        v = domain.vcpus[number]
        if v is not None:
            found[number] = v
    return found


def every_vcpu(machine):
    """Return the vCPUs of all domains, with their names."""
    return {
        f"d{domain.domain_id}v{number}": v
        for domain in machine.alive()
        for number, v in vcpus_of(domain).items()
    }

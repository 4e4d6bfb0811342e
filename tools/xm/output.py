"""How xm prints."""

import json
import os

XM_FORMAT = "{:<32} {:>4} {:>8} {:>5} {:<5} {:>8}"
XL_FORMAT = "{:<40} {:>5} {:>5} {:>5}     {:<6} {:>8}"


def as_json(value):
    """Return JSON for programs."""
    return json.dumps(value, indent=2)


def domain_table(domains, xl=False):
    """Return the table of `xm list`; xl's variant is wider and shows six flags."""
    form = XL_FORMAT if xl else XM_FORMAT
    memory = "Mem" if xl else "Mem(MiB)"
    lines = [form.format("Name", "ID", memory, "VCPUs", "State", "Time(s)")]
    for domain in domains:
        flags = domain["flags"] if xl else domain["flags"][:5]
        number = "-" if domain["id"] is None else domain["id"]
        time = f"{domain['cpu_time_s']:.1f}"
        row = (domain["name"], number, domain["memory_mib"], domain["vcpus"], flags, time)
        lines.append(form.format(*row))
    return "\n".join(lines)


def fields(pairs):
    """Return aligned `name : value` lines."""
    return "\n".join(f"{name:<16} : {value}" for name, value in pairs)


def host(info):
    """Return what `xm info` prints."""
    text = fields(
        (
            ("hypervisor", info["hypervisor"]),
            ("xen_caps", " ".join(info["capabilities"])),
            ("nr_cpus", info["cpus"]),
            ("cpu_mhz", f"{info['cpu_khz'] / 1000:.1f}"),
            ("total_memory", info["memory_mib"]),
            ("free_memory", info["free_memory_mib"]),
            ("domains", info["domains"]),
        )
    )
    return text + "\n" + topology(info["topology"]) if "topology" in info else text


def topology(info):
    """Return the tables of `xm info -n`, as xl prints them."""
    lines = ["cpu_topology           :", "cpu:    core    socket     node"]
    lines += [f"{c['cpu']:3}: {c['core']:7} {c['socket']:8} {c['node']:8}" for c in info["cpus"]]
    lines += ["numa_info              :", "node:    memsize    memfree    distances"]
    for node in info["nodes"]:
        sizes = f"{node['memory_mib']:10} {node['free_memory_mib']:10}"
        lines.append(f"{node['node']:4}: {sizes}      {','.join(map(str, node['distances']))}")
    return "\n".join(lines)


def domain(info):
    """Return what `xm show` prints, with the crash report if there is one."""
    number = "-" if info["id"] is None else info["id"]
    pairs = [("name", info["name"]), ("id", number), ("uuid", info["uuid"])]
    pairs += [("state", info["state"]), ("memory", f"{info['memory_mib']} MiB")]
    pairs += [("vcpus", info["vcpus"]), ("cpu_time", f"{info['cpu_time_s']:.1f} s")]
    if info["exit"]:
        pairs.append(("exit", exit_line(info["exit"])))
    text = fields(pairs)
    return text + "\n" + crash(info["crash"]) if info["crash"] else text


def exit_line(ended):
    """Return how a domain ended, in a few words."""
    return f"{ended['reason']}, exit code {ended['code']}"


def crash(report):
    """Return registers and backtrace of every vCPU of a crashed domain."""
    lines = []
    for vcpu in report["vcpus"]:
        lines.append(f"vCPU {vcpu['vcpu']}:")
        registers = [f"{name:>12} {value:<18}" for name, value in vcpu["registers"].items()]
        lines += ["".join(registers[i : i + 3]).rstrip() for i in range(0, len(registers), 3)]
        lines.append("  backtrace:")
        lines += [f"    {frame_line(frame)}" for frame in vcpu["backtrace"]]
    return "\n".join(lines)


def frame_line(frame):
    """Return a frame of a backtrace as address, function, file and line; files in the folder that
    the user is in are named from there.
    """
    how = " (inlined)" if frame["inlined"] else f"+{frame['offset']:#x}"
    name = f" {frame['symbol']}{how}" if frame["symbol"] else ""
    file = frame["file"].removeprefix(os.getcwd() + "/")
    place = f" {file}:{frame['line']}" if file else ""
    return f"{frame['address']}{name}{place}"

"""What gdb may ask of a session, one function each: it takes the session and the text behind the
request's name, and returns the answer; None if that comes later.

Source: GDB manual, appendix E.2 to E.5. A request that is not here is answered by an empty packet,
which means "not supported". Errors: ValueError and its kin for a request that makes no sense.
"""

from xend import gdbstub_registers as registers

PACKET_BYTES = 0x4000
BAD_REQUEST = "E01"
FEATURES = (
    f"PacketSize={PACKET_BYTES:x};QStartNoAckMode+;qXfer:features:read+;qXfer:threads:read+;"
    "vContSupported+;swbreak+;hwbreak+"
)
ACTIONS = {"c": "c", "C": "c", "s": "s", "S": "s", "r": "s"}  # of vCont
READ_WATCHPOINT = 3  # x86 cannot watch reads alone; gdb then watches all accesses

_requests = {}  # name: (function, whether nothing follows the name)


def request(name, whole=False):
    """Register a function for the requests that begin with, or are, `name`."""

    def decorate(function):
        _requests[name] = (function, whole)
        return function

    return decorate


def find_request(text):
    """Return the name and the function of a request, ("", None) for one that is not supported."""
    for size in range(len(text), 0, -1):
        function, whole = _requests.get(text[:size], (None, False))
        if function is not None and (size == len(text) or not whole):
            return text[:size], function
    return "", None


def numbers(text):
    """Read hexadecimal numbers with commas between them."""
    return [int(number, 16) for number in text.split(",")]


# What the stub can do, and the state of things


@request("qSupported")
def supported(session, _):
    return FEATURES


@request("QStartNoAckMode", whole=True)
@request("qSymbol")
def okay(session, _):
    return "OK"


@request("qAttached")
def attached(session, _):
    return "1"


@request("?", whole=True)
def why_stopped(session, _):
    return session.stop_reply()


@request("qXfer:")
def transfer(session, text):
    """Serve a part of the target description or of the list of threads."""
    name, _, place = text.rpartition(":")
    if name == "features:read:target.xml":
        whole = registers.TARGET_XML
    elif name == "threads:read:":
        vcpus = session.target.vcpus()
        rows = (f'<thread id="{vcpu + 1:x}" name="vCPU {vcpu}"/>' for vcpu in vcpus)
        whole = f'<?xml version="1.0"?><threads>{"".join(rows)}</threads>'
    else:
        return ""
    start, size = numbers(place)
    return ("m" if start + size < len(whole) else "l") + whole[start : start + size]


# Threads: vCPU n is thread n + 1, since 0 means any


@request("qC", whole=True)
def current_thread(session, _):
    return f"QC{session.thread + 1:x}"


@request("H")
def choose_thread(session, text):
    number = int(text[1:], 16)
    if number > 0 and number - 1 not in session.target.vcpus():
        return BAD_REQUEST
    if text[0] == "g" and number > 0:
        session.thread = number - 1
    return "OK"


@request("T")
def thread_alive(session, text):
    return "OK" if int(text, 16) - 1 in session.target.vcpus() else BAD_REQUEST


@request("qfThreadInfo", whole=True)
def threads(session, _):
    return "m" + ",".join(f"{vcpu + 1:x}" for vcpu in session.target.vcpus())


@request("qsThreadInfo", whole=True)
def no_more_threads(session, _):
    return "l"


@request("qThreadExtraInfo,")
def thread_name(session, text):
    return f"vCPU {int(text, 16) - 1}".encode().hex()


# Registers and memory


@request("g", whole=True)
def read_registers(session, _):
    return registers.read_all(session.target.context(session.thread))


@request("G")
def write_registers(session, text):
    registers.write_all(session.target.context(session.thread), text)
    session.target.set_context(session.thread)
    return "OK"


@request("p")
def read_register(session, text):
    return registers.read(session.target.context(session.thread), int(text, 16))


@request("P")
def write_register(session, text):
    number, digits = text.split("=")
    registers.write(session.target.context(session.thread), int(number, 16), digits)
    session.target.set_context(session.thread)
    return "OK"


@request("m")
def read_memory(session, text):
    address, size = numbers(text)
    return session.target.read(address, min(size, PACKET_BYTES // 2)).hex()


@request("M")
def write_memory(session, text):
    place, digits = text.split(":")
    return write(session, place, bytes.fromhex(digits))


@request("X")
def write_binary(session, text):
    place, data = text.split(":", 1)
    return write(session, place, data.encode("latin-1"))


def write(session, place, data):
    """Change memory, if the length that gdb tells is that of the data."""
    address, size = numbers(place)
    if size != len(data):
        return BAD_REQUEST
    session.target.write(address, data)
    return "OK"


# Breakpoints and watchpoints


@request("Z")
def insert(session, text):
    kind, address, length = numbers(text.split(";")[0])
    if kind == 0:
        session.target.insert_breakpoint(address)
        return "OK"
    if kind == READ_WATCHPOINT:
        return ""
    if not session.target.watchpoints.add(kind, address, length):
        return BAD_REQUEST
    session.target.set_watchpoints()
    return "OK"


@request("z")
def remove(session, text):
    kind, address, length = numbers(text.split(";")[0])
    if kind == 0:
        session.target.remove_breakpoint(address)
    else:
        session.target.watchpoints.remove(kind, address, length)
        session.target.set_watchpoints()
    return "OK"


# Stop and go


@request("vCont?", whole=True)
def resume_actions(session, _):
    return "vCont;c;C;s;S;r"


@request("vCont;")
def resume(session, text):
    """Let vCPUs run: the first action that fits a thread counts, and the rest stay stopped."""
    actions, default = {}, None
    for part in text.split(";"):
        action, _, thread = part.partition(":")
        number = int(thread, 16) if thread else -1
        if number < 0:
            default = ACTIONS[action[0]]
            break
        actions.setdefault(number - 1, ACTIONS[action[0]])
        if action[0] == "r":
            session.range = (number - 1, *numbers(action[1:]))
    return session.go(actions, default)


@request("c", whole=True)
def go_on(session, _):
    return session.go({})


@request("s", whole=True)
def step(session, _):
    return session.go({session.thread: "s"})


@request("D")
def detach(session, _):
    session.detach()
    return "OK"


@request("vKill")
async def kill(session, _):
    await session.destroy()
    return "OK"


@request("k", whole=True)
async def kill_silently(session, _):
    await session.destroy()

"""Ethernet, ARP, IPv4 and ICMP, as much as two machines on a wire need to find and ask each other.

A frame is built in and read from the caller's buffer. Numbers on the wire have their most
significant byte first: fields named `*_be` hold them like that. Sources: RFC 826, 791, 792.
"""

from kpy import (
    Array,
    Ptr,
    Slice,
    TypeVar,
    bswap,
    inline,
    load,
    ref,
    sizeof,
    struct,
    truncate,
    u8,
    u16,
    u32,
    u64,
    zero,
)

from libos.text import parse_number

T = TypeVar("T")

MAC_BYTES = 6
IPV4, ARP = 0x0800, 0x0806
ARP_REQUEST, ARP_REPLY = 1, 2
ARP_ETHERNET = 1
ICMP = 1
ECHO_REPLY, ECHO_REQUEST = 0, 8
VERSION_AND_LENGTH = 0x45  # IPv4, a header of five words: no options
TIME_TO_LIVE = 64
DOT = ord(".")

Mac = Array[u8, MAC_BYTES]


@struct(packed=True)
class Ethernet:
    to: Mac
    sender: Mac
    kind_be: u16


@struct(packed=True)
class Arp:
    hardware_be: u16
    protocol_be: u16
    hardware_bytes: u8
    protocol_bytes: u8
    operation_be: u16
    sender: Mac
    sender_address_be: u32
    target: Mac
    target_address_be: u32


@struct(packed=True)
class Ipv4:
    version_and_length: u8
    service: u8
    length_be: u16
    id_be: u16
    fragment_be: u16
    time_to_live: u8
    protocol: u8
    checksum: u16
    sender_be: u32
    target_be: u32


@struct(packed=True)
class Icmp:
    kind: u8
    code: u8
    checksum: u16
    id_be: u16
    sequence_be: u16


ARP_AT = IPV4_AT = sizeof(Ethernet)
ICMP_AT = IPV4_AT + sizeof(Ipv4)
ARP_FRAME = ARP_AT + sizeof(Arp)
ECHO_FRAME = ICMP_AT + sizeof(Icmp)


@inline
def header(kind: type[T], frame: Slice[u8], offset: u64) -> Ptr[T]:
    """Look at a part of a frame as a header; panics when the frame is too short for it."""
    assert offset + sizeof(T) <= len(frame)
    return Ptr[T](u64(frame.ptr) + offset)


@struct
class Host:
    """Who we are on the wire."""

    mac: Mac
    address: u32

    def begin_frame(self, frame: Slice[u8], to: Ptr[Mac], kind: u16) -> None:
        ethernet = header(Ethernet, frame, 0)
        ethernet.to, ethernet.sender = load(to), self.mac
        ethernet.kind_be = bswap(kind)

    def ask_mac(self, frame: Slice[u8], address: u32) -> Slice[u8]:
        """Build the question to everybody: who has this address?"""
        everybody: Mac = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]
        self.begin_frame(frame, ref(everybody), ARP)
        arp = header(Arp, frame, ARP_AT)
        zero(arp)
        arp.hardware_be, arp.protocol_be = bswap(u16(ARP_ETHERNET)), bswap(u16(IPV4))
        arp.hardware_bytes, arp.protocol_bytes = u8(MAC_BYTES), u8(sizeof(u32))
        arp.operation_be = bswap(u16(ARP_REQUEST))
        arp.sender = self.mac
        arp.sender_address_be, arp.target_address_be = bswap(self.address), bswap(address)
        return frame[0:ARP_FRAME]

    def answer(self, frame: Slice[u8]) -> bool:
        """Turn a question after our MAC, or an echo request to us, into the answer.

        Returns: whether the frame is to be sent now.
        """
        if is_arp(frame, ARP_REQUEST):
            arp = header(Arp, frame, ARP_AT)
            if arp.target_address_be != bswap(self.address):
                return False
            arp.operation_be = bswap(u16(ARP_REPLY))
            arp.target, arp.target_address_be = arp.sender, arp.sender_address_be
            arp.sender, arp.sender_address_be = self.mac, bswap(self.address)
        elif is_echo(frame, ECHO_REQUEST, self.address):
            ip, icmp = header(Ipv4, frame, IPV4_AT), header(Icmp, frame, ICMP_AT)
            ip.target_be, ip.sender_be = ip.sender_be, ip.target_be
            icmp.kind = ECHO_REPLY
            icmp.checksum = 0
            icmp.checksum = checksum(frame[ICMP_AT : IPV4_AT + u64(bswap(ip.length_be))])
        else:
            return False
        other = header(Ethernet, frame, 0).sender
        self.begin_frame(frame, ref(other), bswap(header(Ethernet, frame, 0).kind_be))
        return True

    def ask_echo(
        self, frame: Slice[u8], to: Ptr[Mac], address: u32, sequence: u16, data_bytes: u64
    ) -> Slice[u8]:
        """Build an echo request; its data is what stands behind the headers anyway."""
        end = ECHO_FRAME + data_bytes
        self.begin_frame(frame, to, IPV4)
        ip = header(Ipv4, frame, IPV4_AT)
        zero(ip)
        ip.version_and_length = VERSION_AND_LENGTH
        ip.time_to_live = TIME_TO_LIVE
        ip.protocol = ICMP
        ip.length_be = bswap(u16(end - IPV4_AT))
        ip.sender_be, ip.target_be = bswap(self.address), bswap(address)
        ip.checksum = checksum(frame[IPV4_AT:ICMP_AT])
        icmp = header(Icmp, frame, ICMP_AT)
        zero(icmp)
        icmp.kind = ECHO_REQUEST
        icmp.sequence_be = bswap(sequence)
        icmp.checksum = checksum(frame[ICMP_AT:end])
        return frame[0:end]

    def is_echo_reply(self, frame: Slice[u8], sequence: u16) -> bool:
        """Tell whether a frame answers our echo request of that number."""
        if not is_echo(frame, ECHO_REPLY, self.address):
            return False
        return header(Icmp, frame, ICMP_AT).sequence_be == bswap(sequence)


def is_arp(frame: Slice[u8], operation: u16) -> bool:
    if len(frame) < ARP_FRAME or header(Ethernet, frame, 0).kind_be != bswap(u16(ARP)):
        return False
    return header(Arp, frame, ARP_AT).operation_be == bswap(operation)


def is_arp_reply(frame: Slice[u8], address: u32) -> bool:
    """Tell whether a frame says which MAC an address has: its sender's."""
    if not is_arp(frame, ARP_REPLY):
        return False
    return header(Arp, frame, ARP_AT).sender_address_be == bswap(address)


def is_echo(frame: Slice[u8], kind: u8, target: u32) -> bool:
    """Tell whether a frame holds a whole, sound echo message for an address."""
    if len(frame) < ECHO_FRAME or header(Ethernet, frame, 0).kind_be != bswap(u16(IPV4)):
        return False
    ip = header(Ipv4, frame, IPV4_AT)
    if ip.version_and_length != VERSION_AND_LENGTH or ip.protocol != ICMP:
        return False
    end = IPV4_AT + u64(bswap(ip.length_be))
    if ip.target_be != bswap(target) or not ECHO_FRAME <= end <= len(frame):
        return False
    return header(Icmp, frame, ICMP_AT).kind == kind and is_sound(frame[ICMP_AT:end])


def checksum(data: Slice[u8]) -> u16:
    """Return the ones' complement sum of data, as it stands in a header.

    The sum is of 16-bit words; words of 32 bits, folded at the end, give the same, and so does
    either order of bytes.
    """
    total: u64 = 0
    words = len(data) // 4
    for i in range(words):
        total += u64(load(Ptr[u32](u64(data.ptr) + 4 * i)))  # within data: 4 * i + 4 <= its length
    for i in range(4 * words, len(data)):
        total += u64(data[i]) << 8 * (i % 2)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~u16(total)


def is_sound(data: Slice[u8]) -> bool:
    """Tell whether data with its checksum in it is as it was sent: ones' complement has two zeros,
    and a message of nothing but zero bits sums up to the other one.
    """
    return checksum(data) in (0, 0xFFFF)


def parse_address(text: Slice[u8]) -> u32:
    """Return the number that 10.0.100.1 stands for; anything else gives some other number."""
    address: u64 = 0
    start: u64 = 0
    for i, character in enumerate(text):
        if character == DOT:
            address = address << 8 | parse_number(text[start:i], 10) & 0xFF
            start = i + 1
    return truncate(u32, address << 8 | parse_number(text[start : len(text)], 10) & 0xFF)

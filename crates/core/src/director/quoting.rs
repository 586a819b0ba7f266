//! What ICMP errors of a family quote, and how they are rewritten and limited.

use super::family::{Family, V4, V6};
use super::limits::{allow4, allow6};
use crate::conn::Peer;
use crate::env::Env;
use crate::forward::Age;
use crate::forward::refusal::{Refusal, answer_length4, answer_length6};
use crate::forward::related::{Relation4, Relation6, relate, relate6};
use crate::generation::RootLine;
use crate::packet::Packet;
use crate::state::{TCP, UDP};
use crate::wire::icmp::{self, GRE, IPV4_IN_IP, Icmp, Quote4, Quote6};
use crate::wire::{ETHERNET, Header4, Header6};

/// An address family, as its ICMP errors see it.
pub(super) trait Quoting: Family {
    /// The packet that an error quotes.
    type Quote: Copy;

    fn is_error(message: &Icmp) -> bool;
    /// Whether a fragment of an error is dropped; else it passes.
    fn drops_fragment(header: &Self::Header) -> bool;
    fn quote<P: Packet>(packet: &P, header: &Self::Header) -> Option<Self::Quote>;
    /// Whether an error quotes too little of its packet for the ports, where there are any.
    fn lacks_ports<P: Packet>(packet: &P, header: &Self::Header) -> bool;
    fn protocol_of(quote: &Self::Quote) -> u8;
    /// Whether its transport header is quoted whole.
    fn is_whole(header: &Self::Header, quote: &Self::Quote) -> bool;
    /// Source and destination of the quoted packet.
    fn ends_of(quote: &Self::Quote) -> QuotedEnds<Self>;
    /// Whether what is quoted may be a tunnel packet of the director's.
    fn may_be_outside(header: &Self::Header, quote: &Self::Quote) -> bool;
    fn is_sound<P: Packet>(packet: &P, header: &Self::Header) -> Option<bool>;
    /// Rewrites an error: [`Peer::Virtual`] one from the client's side. `new` takes the far end's place.
    fn relate<P: Packet>(
        packet: &mut P,
        header: &Self::Header,
        quote: &Self::Quote,
        side: Peer,
        new: (Self::Address, u16),
        age: Age,
    ) -> Option<()>;
    /// Total length of the error about a packet of `total` bytes.
    fn answer_length(total: u32) -> u32;
    /// Whether this refusal may be sent to an address now.
    fn allows<E: Env>(env: &E, root: &RootLine, refusal: Refusal, to: Self::Address) -> bool;
}

/// Both ends of a quoted packet: raw addresses and ports, the source first.
type QuotedEnds<F> = ((<F as Family>::Address, u16), (<F as Family>::Address, u16));

impl Quoting for V4 {
    type Quote = Quote4;

    #[inline(always)]
    fn is_error(message: &Icmp) -> bool {
        message.is_error4()
    }

    #[inline(always)]
    fn drops_fragment(_header: &Header4) -> bool {
        false
    }

    #[inline(always)]
    fn quote<P: Packet>(packet: &P, header: &Header4) -> Option<Quote4> {
        Quote4::of_error(packet, header)
    }

    #[inline(always)]
    fn lacks_ports<P: Packet>(packet: &P, header: &Header4) -> bool {
        icmp::lacks_ports4(packet, header)
    }

    #[inline(always)]
    fn protocol_of(quote: &Quote4) -> u8 {
        quote.protocol
    }

    #[inline(always)]
    fn is_whole(header: &Header4, quote: &Quote4) -> bool {
        let end = ETHERNET + usize::from(header.total);
        quote.transport + transport_length(quote.protocol) <= end
    }

    #[inline(always)]
    fn ends_of(quote: &Quote4) -> QuotedEnds<Self> {
        (
            (quote.source, quote.source_port),
            (quote.destination, quote.destination_port),
        )
    }

    #[inline(always)]
    fn may_be_outside(header: &Header4, quote: &Quote4) -> bool {
        header.destination == quote.source && matches!(quote.protocol, IPV4_IN_IP | GRE | UDP)
    }

    #[inline(always)]
    fn is_sound<P: Packet>(packet: &P, header: &Header4) -> Option<bool> {
        icmp::is_sound4(packet, header)
    }

    #[inline(always)]
    fn relate<P: Packet>(
        packet: &mut P,
        header: &Header4,
        quote: &Quote4,
        side: Peer,
        new: (u32, u16),
        age: Age,
    ) -> Option<()> {
        let change = match side {
            Peer::Virtual => Relation4::to_server(header, quote, new),
            Peer::Server => Relation4::to_client(header, quote, new),
        };
        relate(packet, header, &change, age)
    }

    #[inline(always)]
    fn answer_length(total: u32) -> u32 {
        answer_length4(total)
    }

    #[inline(always)]
    fn allows<E: Env>(env: &E, root: &RootLine, refusal: Refusal, to: u32) -> bool {
        let message = refusal.message4(0);
        allow4(env, root, message.kind, message.code, to)
    }
}

impl Quoting for V6 {
    type Quote = Quote6;

    #[inline(always)]
    fn is_error(message: &Icmp) -> bool {
        message.is_error6()
    }

    #[inline(always)]
    fn drops_fragment(header: &Header6) -> bool {
        header.fragment.offset == 0
    }

    #[inline(always)]
    fn quote<P: Packet>(packet: &P, header: &Header6) -> Option<Quote6> {
        Quote6::of_error(packet, header)
    }

    #[inline(always)]
    fn lacks_ports<P: Packet>(packet: &P, header: &Header6) -> bool {
        icmp::lacks_ports6(packet, header)
    }

    #[inline(always)]
    fn protocol_of(quote: &Quote6) -> u8 {
        quote.protocol
    }

    #[inline(always)]
    fn is_whole(header: &Header6, quote: &Quote6) -> bool {
        let end = ETHERNET + header.total as usize;
        quote.transport + transport_length(quote.protocol) <= end
    }

    #[inline(always)]
    fn ends_of(quote: &Quote6) -> QuotedEnds<Self> {
        (
            (quote.source, quote.source_port),
            (quote.destination, quote.destination_port),
        )
    }

    #[inline(always)]
    fn may_be_outside(_header: &Header6, _quote: &Quote6) -> bool {
        false
    }

    #[inline(always)]
    fn is_sound<P: Packet>(packet: &P, header: &Header6) -> Option<bool> {
        icmp::is_sound6(packet, header)
    }

    #[inline(always)]
    fn relate<P: Packet>(
        packet: &mut P,
        header: &Header6,
        quote: &Quote6,
        side: Peer,
        new: ([u64; 2], u16),
        age: Age,
    ) -> Option<()> {
        let change = match side {
            Peer::Virtual => Relation6::to_server(header, quote, new),
            Peer::Server => Relation6::to_client(header, quote, new),
        };
        relate6(packet, header, &change, age)
    }

    #[inline(always)]
    fn answer_length(total: u32) -> u32 {
        answer_length6(total)
    }

    #[inline(always)]
    fn allows<E: Env>(env: &E, root: &RootLine, refusal: Refusal, to: [u64; 2]) -> bool {
        allow6(env, root, refusal.message6(0).kind, to)
    }
}

/// Bytes of a TCP or UDP header.
#[inline(always)]
fn transport_length(protocol: u8) -> usize {
    if protocol == TCP { 20 } else { 8 }
}

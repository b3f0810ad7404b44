//! What every message has: the SBE header, its fields, and their places.
//!
//! The [`message!`] macro declares a message once. From that one declaration come the `repr(C)`
//! struct, its numbers, and the table of fields that the schema test and the text tools walk.
//!
//! Always holds: no padding that is not a field; the block is a multiple of eight bytes.

use std::mem::size_of;

use bytemuck::{Pod, Zeroable};

use crate::codes::{Enumeration, OrderFlags, Permissions, Raw};
use crate::ids::{
    AccountId, Behaviour, ClientOrderId, CommandSequence, EventSequence, ExchangeId, FeedSequence,
    InstrumentId, MessageSequence, ObligationId, OrderId, ParticipantId, SessionId, SessionVersion,
    TradeId, TransferId,
};
use crate::units::{Hours, Millis, Money, Nanos, PartsPerMillion, Price, Quantity};

/// The number of this schema.
pub const SCHEMA_ID: u16 = 600;

/// The version of this schema.
pub const SCHEMA_VERSION: u16 = 0;

/// The header before every message: four 16-bit numbers.
///
/// ```text
/// 0            2             4           6         8
/// | blockLength | templateId | schemaId | version | block ...
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// Bytes of the block after this header.
    pub block_length: u16,
    /// Which message.
    pub template_id: u16,
    /// Which schema: [`SCHEMA_ID`].
    pub schema_id: u16,
    /// Which version of the schema the sender knows.
    pub version: u16,
}

/// Bytes of the header.
pub const HEADER_BYTES: usize = size_of::<Header>();

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in Rust; the schema writes it in camel case.
    pub name: &'static str,
    /// The name of its type in the schema.
    pub type_name: &'static str,
    /// Bytes from the start of the block.
    pub offset: usize,
    /// Bytes of the field.
    pub bytes: usize,
    /// What it means.
    pub description: &'static str,
}

/// The declaration of a message.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    /// Its name, in Rust and in the schema.
    pub name: &'static str,
    /// Its number.
    pub template_id: u16,
    /// Bytes of its block.
    pub block_length: u16,
    /// Its fields in order.
    pub fields: &'static [Field],
    /// What it means.
    pub description: &'static str,
}

/// A message of the wire: plain bytes, header first.
pub trait Message: Pod + PartialEq {
    /// Its declaration.
    const DECLARATION: Declaration;
    /// Its number.
    const TEMPLATE_ID: u16 = Self::DECLARATION.template_id;
    /// Bytes with header.
    const BYTES: usize = size_of::<Self>();
    /// The header that belongs to it.
    const HEADER: Header = Header {
        block_length: Self::DECLARATION.block_length,
        template_id: Self::DECLARATION.template_id,
        schema_id: SCHEMA_ID,
        version: SCHEMA_VERSION,
    };

    /// A message with its header set and every field zero.
    fn blank() -> Self;

    /// Reads the message from the start of `bytes`, or `None` where they are too few or another.
    ///
    /// A longer block is one from a newer schema: its known part is read.
    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        let header = peek_header(bytes)?;
        let fits = header.template_id == Self::TEMPLATE_ID
            && header.schema_id == SCHEMA_ID
            && usize::from(header.block_length) + HEADER_BYTES >= Self::BYTES;
        if !fits {
            return None;
        }
        bytes.get(..Self::BYTES).map(bytemuck::pod_read_unaligned)
    }

    /// The bytes of the message, header first.
    #[inline]
    fn bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }
}

/// The header at the start of `bytes`, or `None` where they are too few.
#[inline]
#[must_use]
pub fn peek_header(bytes: &[u8]) -> Option<Header> {
    bytes.get(..HEADER_BYTES).map(bytemuck::pod_read_unaligned)
}

/// The length in bytes of the message at the start of `bytes`, header included.
#[inline]
#[must_use]
pub fn peek_length(bytes: &[u8]) -> Option<usize> {
    peek_header(bytes).map(|header| HEADER_BYTES + usize::from(header.block_length))
}

/// The messages of a batch, one after the other.
///
/// # Panics
/// Never. A length that leaves the batch ends the walk; journal and event log are verified before.
pub fn messages(mut batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = peek_length(batch)?;
        let message = batch.get(..length)?;
        batch = &batch[length..];
        Some(message)
    })
}

/// A type that a field may have, and its name in the schema.
pub trait FieldType: Pod {
    /// The name of the type in the schema.
    const NAME: &'static str;
}

macro_rules! field_types {
    ($($type:ty => $name:literal),* $(,)?) => {
        $(impl FieldType for $type { const NAME: &'static str = $name; })*
    };
}

field_types! {
    u8 => "Uint8", u16 => "Uint16", u32 => "Uint32", u64 => "Uint64",
    SessionId => "SessionId", ParticipantId => "ParticipantId", AccountId => "AccountId",
    InstrumentId => "InstrumentId", OrderId => "OrderId", ClientOrderId => "ClientOrderId",
    TradeId => "TradeId", TransferId => "TransferId", ObligationId => "ObligationId",
    MessageSequence => "MessageSequence", SessionVersion => "SessionVersion",
    CommandSequence => "CommandSequence", EventSequence => "EventSequence",
    FeedSequence => "FeedSequence", ExchangeId => "ExchangeId", Behaviour => "Behaviour",
    Price => "Price", Money => "Money", Quantity => "Quantity",
    Hours => "Hours", Nanos => "Nanos", Millis => "Millis",
    PartsPerMillion => "PartsPerMillion",
    OrderFlags => "OrderFlags", Permissions => "Permissions",
    Digest => "Digest", Evidence => "Evidence", AccessKey => "AccessKey", Ipv4 => "Ipv4", Ipv6 => "Ipv6",
    Text8 => "Text8", Text16 => "Text16", Text32 => "Text32",
    Pad<1> => "Pad1", Pad<2> => "Pad2", Pad<3> => "Pad3", Pad<4> => "Pad4", Pad<5> => "Pad5",
    Pad<6> => "Pad6", Pad<7> => "Pad7", Pad<12> => "Pad12", Pad<16> => "Pad16",
    Pad<20> => "Pad20", Pad<24> => "Pad24", Pad<32> => "Pad32", Pad<40> => "Pad40",
    Pad<44> => "Pad44", Pad<48> => "Pad48", Pad<52> => "Pad52", Pad<56> => "Pad56",
}

impl<E: Enumeration> FieldType for Raw<E> {
    const NAME: &'static str = E::NAME;
}

macro_rules! byte_array {
    ($(#[$doc:meta])* $name:ident[$bytes:literal]) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
        #[repr(transparent)]
        pub struct $name(pub [u8; $bytes]);

        impl Default for $name {
            fn default() -> Self {
                Self([0; $bytes])
            }
        }
    };
}

byte_array!(
    /// A 256-bit digest or authentication code.
    Digest[32]
);
byte_array!(
    /// The first 192 bits of a digest: what a report is evidence of.
    Evidence[24]
);
byte_array!(
    /// An Ed25519 public key that opens a delivered machine, as SSH uses it.
    AccessKey[32]
);
byte_array!(
    /// An IPv4 address in network order.
    Ipv4[4]
);
byte_array!(
    /// An IPv6 address in network order; one of IPv4 is mapped into it.
    Ipv6[16]
);

macro_rules! text {
    ($($name:ident[$bytes:literal]),*) => {$(
        byte_array!(
            /// Printable ASCII, filled up with zeros.
            $name[$bytes]
        );

        impl $name {
            /// The text, or `None` where it is longer than fits or not printable ASCII.
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                let mut bytes = [0; $bytes];
                bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
                let value = Self(bytes);
                (value.as_str() == Some(text)).then_some(value)
            }

            /// The text without its filling, or `None` where it is not printable ASCII.
            #[must_use]
            pub fn as_str(&self) -> Option<&str> {
                let length = self.0.iter().position(|byte| *byte == 0).unwrap_or($bytes);
                let (text, filling) = self.0.split_at(length);
                let printable = text.iter().all(|byte| (b' '..=b'~').contains(byte));
                let filled = filling.iter().all(|byte| *byte == 0);
                if printable && filled { std::str::from_utf8(text).ok() } else { None }
            }
        }
    )*};
}

text!(Text8[8], Text16[16], Text32[32]);

/// Bytes that mean nothing, always zero when sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Pad<const N: usize>(pub [u8; N]);

// SAFETY: transparent over an array of bytes.
unsafe impl<const N: usize> Zeroable for Pad<N> {}
// SAFETY: transparent over an array of bytes: no padding, every bit pattern valid.
unsafe impl<const N: usize> Pod for Pad<N> {}

impl<const N: usize> Default for Pad<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

/// Declares a message once.
macro_rules! message {
    ($(#[doc = $about:literal])+ $name:ident = $template:literal {
        $($(#[doc = $doc:literal])+ $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(C)]
        pub struct $name {
            /// The SBE header.
            pub header: $crate::message::Header,
            $($(#[doc = $doc])+ pub $field: $type),*
        }

        impl $crate::message::Message for $name {
            const DECLARATION: $crate::message::Declaration = $crate::message::Declaration {
                name: stringify!($name),
                template_id: $template,
                block_length: (std::mem::size_of::<$name>() - $crate::message::HEADER_BYTES) as u16,
                fields: &[$($crate::message::Field {
                    name: stringify!($field),
                    type_name: <$type as $crate::message::FieldType>::NAME,
                    offset: std::mem::offset_of!($name, $field) - $crate::message::HEADER_BYTES,
                    bytes: std::mem::size_of::<$type>(),
                    description: concat!($($doc),+),
                }),*],
                description: concat!($($about),+),
            };

            #[inline]
            fn blank() -> Self {
                Self { header: Self::HEADER, ..bytemuck::Zeroable::zeroed() }
            }
        }

        const _: () = assert!(std::mem::size_of::<$name>().is_multiple_of(8));
        const _: () = assert!(std::mem::size_of::<$name>() <= $crate::limits::MESSAGE_BYTES_MAX);
    };
}
pub(crate) use message;

//! Numbers in little-endian bytes, one after the other: how everything between peers is laid out.
//!
//! Used by the layouts beside it, and by `members` for the file and the log.
//!
//! Always holds: a reader never goes beyond its bytes; what is too short is `None`, not a fault.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Appends numbers to bytes.
pub(crate) struct Packer<'a>(pub(crate) &'a mut Vec<u8>);

impl Packer<'_> {
    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes behind their count.
    pub(crate) fn counted(&mut self, bytes: &[u8]) -> &mut Self {
        // What is packed here is bounded far below 4 GiB.
        self.u32(bytes.len() as u32).bytes(bytes)
    }

    /// An address: 16 bytes as IPv6, IPv4 mapped into it, and the port.
    pub(crate) fn address(&mut self, address: &SocketAddr) -> &mut Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        self.bytes(&ip.octets())
            .bytes(&address.port().to_le_bytes())
    }
}

/// Takes numbers off the front of bytes.
pub(crate) struct Unpacker<'a>(pub(crate) &'a [u8]);

impl<'a> Unpacker<'a> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(first)
    }

    /// Bytes behind their count.
    pub(crate) fn counted(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.u32()?).ok()?;
        self.bytes(count)
    }

    pub(crate) fn address(&mut self) -> Option<SocketAddr> {
        let ip = Ipv6Addr::from(self.take::<16>()?).to_canonical();
        Some(SocketAddr::new(ip, self.u16()?))
    }

    /// `value`, where nothing is left over.
    pub(crate) fn finish<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

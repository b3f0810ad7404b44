//! A command as it travels in rings and lies in the journal: whole 64-byte lines.
//!
//! Called by the gateway, which makes a record of each message it accepts, and by whoever makes
//! commands of its own. The reader of a ring learns the length from the header in the first line.
//!
//! Always holds: the header of a record is exactly the one this build declares for its template.

use bytemuck::{Pod, Zeroable};

use crate::catalogue::MESSAGES;
use crate::limits::{MESSAGE_BYTES_MAX, RECORD_LINE_BYTES};
use crate::message::{HEADER_BYTES, Header, Message, SCHEMA_ID, SCHEMA_VERSION, peek_header};

/// One cache line of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Line(pub [u8; RECORD_LINE_BYTES]);

const LINES_MAX: usize = MESSAGE_BYTES_MAX / RECORD_LINE_BYTES;
const COMMAND_TEMPLATE_MIN: u16 = 100;
const COMMAND_TEMPLATE_END: u16 = 300;

/// Bytes of each command, header included, by template from [`COMMAND_TEMPLATE_MIN`]; zero where
/// the template is no command.
const COMMAND_BYTES: [u16; (COMMAND_TEMPLATE_END - COMMAND_TEMPLATE_MIN) as usize] = {
    let mut table = [0; (COMMAND_TEMPLATE_END - COMMAND_TEMPLATE_MIN) as usize];
    let mut place = 0;
    while place < MESSAGES.len() {
        let message = &MESSAGES[place];
        if message.template_id >= COMMAND_TEMPLATE_MIN && message.template_id < COMMAND_TEMPLATE_END
        {
            table[(message.template_id - COMMAND_TEMPLATE_MIN) as usize] =
                message.block_length + HEADER_BYTES as u16;
        }
        place += 1;
    }
    table
};

/// Bytes of the command with this template, header included; `None` where it is no command.
#[inline]
#[must_use]
pub fn command_bytes(template_id: u16) -> Option<usize> {
    let place = template_id.checked_sub(COMMAND_TEMPLATE_MIN)?;
    match COMMAND_BYTES.get(usize::from(place)) {
        None | Some(0) => None,
        Some(bytes) => Some(usize::from(*bytes)),
    }
}

/// How many lines the command that starts with this line has; `None` where it is no command.
#[inline]
#[must_use]
pub fn lines_of(first: &Line) -> Option<usize> {
    let header = peek_header(&first.0)?;
    command_bytes(header.template_id).map(|bytes| bytes / RECORD_LINE_BYTES)
}

/// A command in lines.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    lines: [Line; LINES_MAX],
    count: usize,
}

/// Why bytes are not a command that can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRecord {
    /// The template is no command.
    UnknownTemplate,
    /// The schema is another, or the block is shorter than this build can read.
    BadSchema,
    /// The bytes end before the block does.
    Short,
}

impl Record {
    /// Makes a record of a message as it came; a longer block of a newer schema is cut to what is
    /// known.
    ///
    /// # Errors
    /// [`NoRecord`] where the bytes are not a command.
    #[inline]
    pub fn from_wire(bytes: &[u8]) -> Result<Self, NoRecord> {
        let header = peek_header(bytes).ok_or(NoRecord::Short)?;
        if header.schema_id != SCHEMA_ID {
            return Err(NoRecord::BadSchema);
        }
        let known = command_bytes(header.template_id).ok_or(NoRecord::UnknownTemplate)?;
        if HEADER_BYTES + usize::from(header.block_length) < known {
            return Err(NoRecord::BadSchema);
        }
        let message = bytes.get(..known).ok_or(NoRecord::Short)?;
        let mut record = Self {
            lines: [Line::zeroed(); LINES_MAX],
            count: known / RECORD_LINE_BYTES,
        };
        let room: &mut [u8] = bytemuck::cast_slice_mut(&mut record.lines);
        room[..known].copy_from_slice(message);
        let header = Header {
            block_length: (known - HEADER_BYTES) as u16,
            template_id: header.template_id,
            schema_id: SCHEMA_ID,
            version: SCHEMA_VERSION,
        };
        room[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
        Ok(record)
    }

    /// Makes a record of one of our own commands.
    ///
    /// # Panics
    /// If the message is not a command: our own fault.
    #[inline]
    #[must_use]
    pub fn new<M: Message>(message: &M) -> Self {
        assert!(command_bytes(M::TEMPLATE_ID) == Some(M::BYTES));
        let mut record = Self {
            lines: [Line::zeroed(); LINES_MAX],
            count: M::BYTES / RECORD_LINE_BYTES,
        };
        let room: &mut [u8] = bytemuck::cast_slice_mut(&mut record.lines);
        room[..M::BYTES].copy_from_slice(message.bytes());
        record
    }

    /// The lines.
    #[inline]
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines[..self.count]
    }

    /// The bytes, header first.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.lines())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;
    use crate::operations::CreateInstrument;
    use crate::orders::NewOrder;

    #[test]
    fn a_record_is_its_message() {
        let order = NewOrder {
            session: SessionId(7),
            ..NewOrder::blank()
        };
        assert_eq!(Record::new(&order).bytes(), order.bytes());
        assert_eq!(Record::new(&order).lines().len(), 1);
        let listing = CreateInstrument {
            session: SessionId(7),
            ..CreateInstrument::blank()
        };
        assert_eq!(Record::new(&listing).lines().len(), 2);
        assert_eq!(lines_of(&Record::new(&listing).lines()[0]), Some(2));
    }

    #[test]
    fn a_newer_block_is_cut_to_what_is_known() {
        let order = NewOrder {
            session: SessionId(7),
            ..NewOrder::blank()
        };
        let mut newer = order.bytes().to_vec();
        newer.extend_from_slice(&[9; 8]);
        newer[0] = 64;
        newer[6] = 1;
        assert_eq!(Record::from_wire(&newer).unwrap().bytes(), order.bytes());
    }

    #[test]
    fn what_is_no_command_is_named() {
        let order = NewOrder::blank();
        assert_eq!(
            Record::from_wire(&order.bytes()[..40]).err(),
            Some(NoRecord::Short)
        );
        let mut older = order.bytes().to_vec();
        older[0] = 48;
        assert_eq!(Record::from_wire(&older).err(), Some(NoRecord::BadSchema));
        let report = crate::events::OrderAccepted::blank();
        assert_eq!(
            Record::from_wire(report.bytes()).err(),
            Some(NoRecord::UnknownTemplate)
        );
    }
}

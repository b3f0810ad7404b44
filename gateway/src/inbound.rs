//! What a client may send, and the name of every way to send it wrong.
//!
//! Called by `session` with each message that was cut out of the stream.
//!
//! Always holds: the answer depends on the bytes alone; a message that passes has the schema this
//! build knows and at least the block it declares.

use exahour_wire::codes::TerminationCode;
use exahour_wire::ids::{MessageSequence, SessionId};
use exahour_wire::message::{HEADER_BYTES, Message, SCHEMA_ID, peek_header};
use exahour_wire::record::command_bytes;
use exahour_wire::session::{Establish, Negotiate, RetransmitRequest, Sequence, Terminate};

use crate::inbox::BadFrame;

/// The first template that belongs to the exchange's own commands.
const INTERNAL_TEMPLATE_MIN: u16 = 200;

/// A message of a client, in its form right.
#[derive(Clone, Copy, Debug)]
pub enum Inbound<'a> {
    /// A new version is introduced.
    Negotiate(Negotiate),
    /// The flow is to be opened.
    Establish(Establish),
    /// A sign of life.
    Sequence(Sequence),
    /// Reports are wanted again.
    RetransmitRequest(RetransmitRequest),
    /// The client ends the session.
    Terminate(Terminate),
    /// A command for the engine.
    Command(Command<'a>),
}

/// A command with what the gateway must know of it.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Who says to send it.
    pub session: SessionId,
    /// Its number.
    pub sequence: MessageSequence,
    /// The message, at least as long as its template declares.
    pub bytes: &'a [u8],
}

/// A breach of the protocol that ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Its name.
    pub code: TerminationCode,
    /// The length, encoding or template that was named, or zero.
    pub detail: u32,
}

impl Breach {
    fn new(code: TerminationCode, detail: u32) -> Self {
        Self { code, detail }
    }
}

impl From<BadFrame> for Breach {
    fn from(frame: BadFrame) -> Self {
        match frame {
            BadFrame::Length(named) => Self::new(TerminationCode::BadLength, named),
            BadFrame::Encoding(named) => Self::new(TerminationCode::BadEncoding, named.into()),
        }
    }
}

/// Reads one message as it came.
///
/// # Errors
/// [`Breach`]: `BadSchema` (detail: the schema, or the block length where it is too short),
/// `UnknownTemplate` (detail: the template), `BadLength` (detail: the block length that does not
/// fill the frame).
#[inline]
pub fn read(bytes: &[u8]) -> Result<Inbound<'_>, Breach> {
    let Some(header) = peek_header(bytes) else {
        return Err(Breach::new(TerminationCode::BadLength, 0));
    };
    if header.schema_id != SCHEMA_ID {
        let detail = header.schema_id.into();
        return Err(Breach::new(TerminationCode::BadSchema, detail));
    }
    if usize::from(header.block_length) + HEADER_BYTES != bytes.len() {
        let detail = header.block_length.into();
        return Err(Breach::new(TerminationCode::BadLength, detail));
    }
    let inbound = match header.template_id {
        template if is_client_command(template) => read_command(template, bytes),
        Negotiate::TEMPLATE_ID => Negotiate::read(bytes).map(Inbound::Negotiate),
        Establish::TEMPLATE_ID => Establish::read(bytes).map(Inbound::Establish),
        Sequence::TEMPLATE_ID => Sequence::read(bytes).map(Inbound::Sequence),
        RetransmitRequest::TEMPLATE_ID => {
            RetransmitRequest::read(bytes).map(Inbound::RetransmitRequest)
        }
        Terminate::TEMPLATE_ID => Terminate::read(bytes).map(Inbound::Terminate),
        unknown => {
            let detail = unknown.into();
            return Err(Breach::new(TerminationCode::UnknownTemplate, detail));
        }
    };
    // The template is known, so only a block that is too short remains.
    inbound.ok_or(Breach::new(
        TerminationCode::BadSchema,
        header.block_length.into(),
    ))
}

#[inline]
fn read_command(template: u16, bytes: &[u8]) -> Option<Inbound<'_>> {
    if command_bytes(template)? > bytes.len() {
        return None;
    }
    Some(Inbound::Command(Command {
        session: SessionId(word(bytes, HEADER_BYTES)?),
        sequence: MessageSequence(word(bytes, HEADER_BYTES + 4)?),
        bytes,
    }))
}

#[inline]
fn is_client_command(template: u16) -> bool {
    template < INTERNAL_TEMPLATE_MIN && command_bytes(template).is_some()
}

#[inline]
fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let word = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use exahour_wire::catalogue::MESSAGES;
    use exahour_wire::orders::NewOrder;

    use super::*;

    fn breach(bytes: &[u8]) -> (TerminationCode, u32) {
        let breach = read(bytes).unwrap_err();
        (breach.code, breach.detail)
    }

    #[test]
    fn exactly_the_templates_of_clients_are_known() {
        let allowed = |template| {
            matches!(template, 1 | 4 | 7 | 9 | 12)
                || (100..200).contains(&template) && command_bytes(template).is_some()
        };
        for template in 0..=u16::MAX {
            let declared = MESSAGES.iter().find(|known| known.template_id == template);
            let block_length = declared.map_or(56, |known| known.block_length);
            let mut bytes = vec![0; HEADER_BYTES + usize::from(block_length)];
            bytes[..2].copy_from_slice(&block_length.to_le_bytes());
            bytes[2..4].copy_from_slice(&template.to_le_bytes());
            bytes[4..6].copy_from_slice(&SCHEMA_ID.to_le_bytes());
            match read(&bytes) {
                Ok(_) => assert!(allowed(template), "{template}"),
                Err(breach) => {
                    assert_eq!(breach.code, TerminationCode::UnknownTemplate);
                    assert_eq!(breach.detail, template.into());
                    assert!(!allowed(template), "{template}");
                }
            }
        }
    }

    #[test]
    fn wrong_forms_are_named() {
        let order = NewOrder::blank().bytes().to_vec();
        assert_eq!(breach(&order[..63]), (TerminationCode::BadLength, 56));
        assert_eq!(breach(&order[..7]), (TerminationCode::BadLength, 0));
        let mut other = order.clone();
        other[4] = 0;
        assert_eq!(breach(&other), (TerminationCode::BadSchema, 0x200));
        let mut short = order[..56].to_vec();
        short[0] = 48;
        assert_eq!(breach(&short), (TerminationCode::BadSchema, 48));
        let mut newer = order;
        newer.extend_from_slice(&[1; 8]);
        newer[0] = 64;
        assert!(matches!(read(&newer), Ok(Inbound::Command(_))));
    }
}

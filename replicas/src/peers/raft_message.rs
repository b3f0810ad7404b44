//! Raft's messages in a fixed layout of our own: protobuf never parses what a peer sent.
//!
//! ```text
//! | type 1 | reject 1 | from 8 | to 8 | term 8 | log term 8 | index 8 | commit 8 | commit term 8 |
//! | reject hint 8 | request snapshot 8 | priority 8 | context: count 4, bytes | entries: count 4 |
//! each entry: | type 1 | term 8 | index 8 | context: count 4, bytes | data: count 4, bytes |
//! ```
//! Called by the sequencer's consensus for what goes out and what came in.
//!
//! Always holds: what is read is within the frame it came in; a snapshot never travels in a message, only
//! the place it stands for, as `index` and `log term`.

use bytes::Bytes;
use raft::prelude::{Entry, EntryType, Message, MessageType, Snapshot};

use super::packed::{Packer, Unpacker};

/// Messages that travel between peers, by the number they have on the wire; all others are a node's own.
const TRAVELLING: [MessageType; 14] = [
    MessageType::MsgPropose,
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgSnapshot,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgTransferLeader,
    MessageType::MsgTimeoutNow,
    MessageType::MsgReadIndex,
    MessageType::MsgReadIndexResp,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
];

/// Bytes up to the priority.
const HEAD_BYTES: usize = 2 + 10 * 8;

/// Appends a message; nothing, and `false`, where it is one that does not travel.
pub(crate) fn pack(message: &Message, bytes: &mut Vec<u8>) -> bool {
    let kind = message.get_msg_type();
    let Some(number) = TRAVELLING.iter().position(|it| *it == kind) else {
        return false;
    };
    let (index, log_term) = match kind {
        MessageType::MsgSnapshot => {
            let place = message.get_snapshot().get_metadata();
            (place.index, place.term)
        }
        _ => (message.index, message.log_term),
    };
    let numbers = [
        message.from,
        message.to,
        message.term,
        log_term,
        index,
        message.commit,
        message.commit_term,
        message.reject_hint,
        message.request_snapshot,
        message.priority.cast_unsigned(),
    ];
    let mut head = [0; HEAD_BYTES];
    (head[0], head[1]) = (number as u8, u8::from(message.reject));
    let places = head[2..].as_chunks_mut().0;
    for (place, number) in places.iter_mut().zip(numbers) {
        *place = number.to_le_bytes();
    }
    let mut packer = Packer(bytes);
    packer
        .bytes(&head)
        .counted(&message.context)
        .u32(message.entries.len() as u32);
    for entry in &message.entries {
        let kind = match entry.get_entry_type() {
            EntryType::EntryNormal => 0,
            EntryType::EntryConfChange => 1,
            EntryType::EntryConfChangeV2 => 2,
        };
        packer
            .u8(kind)
            .u64(entry.term)
            .u64(entry.index)
            .counted(&entry.context)
            .counted(&entry.data);
    }
    true
}

/// Reads a message; `None` where the bytes are none.
pub(crate) fn unpack(bytes: &[u8]) -> Option<Message> {
    let mut rest = Unpacker(bytes);
    let mut message = Message::default();
    let kind = *TRAVELLING.get(usize::from(rest.u8()?))?;
    message.set_msg_type(kind);
    message.reject = match rest.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    message.from = rest.u64()?;
    message.to = rest.u64()?;
    message.term = rest.u64()?;
    let (log_term, index) = (rest.u64()?, rest.u64()?);
    message.commit = rest.u64()?;
    message.commit_term = rest.u64()?;
    message.reject_hint = rest.u64()?;
    message.request_snapshot = rest.u64()?;
    message.priority = rest.u64()?.cast_signed();
    message.context = Bytes::copy_from_slice(rest.counted()?);
    if kind == MessageType::MsgSnapshot {
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = index;
        snapshot.mut_metadata().term = log_term;
        message.set_snapshot(snapshot);
    } else {
        message.index = index;
        message.log_term = log_term;
    }
    let count = rest.u32()?;
    // Each entry follows the one before it: what is out of order was never a log.
    let mut expected = message.index;
    for _ in 0..count {
        let entry = unpack_entry(&mut rest)?;
        expected = expected.checked_add(1)?;
        if kind == MessageType::MsgAppend && entry.index != expected {
            return None;
        }
        message.entries.push(entry);
    }
    let questions = [MessageType::MsgReadIndex, MessageType::MsgReadIndexResp];
    if questions.contains(&kind) && message.entries.len() != 1 || !numbered(&message) {
        return None;
    }
    rest.finish(message)
}

/// Whether terms and indices are such as a log can have: terms of 32 bits, and indices far from their end.
fn numbered(message: &Message) -> bool {
    let term_max = u64::from(u32::MAX);
    let index_max = u64::MAX / 2;
    let terms = [message.term, message.log_term, message.commit_term];
    let indices = [message.index, message.commit, message.reject_hint];
    terms.iter().all(|term| *term <= term_max)
        && indices.iter().all(|index| *index <= index_max)
        && message.entries.iter().all(|entry| entry.term <= term_max)
}

fn unpack_entry(rest: &mut Unpacker<'_>) -> Option<Entry> {
    let mut entry = Entry::default();
    entry.set_entry_type(match rest.u8()? {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => return None,
    });
    entry.term = rest.u64()?;
    entry.index = rest.u64()?;
    entry.context = Bytes::copy_from_slice(rest.counted()?);
    entry.data = Bytes::copy_from_slice(rest.counted()?);
    Some(entry)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn entry(index: u64, bytes: usize) -> Entry {
        let mut entry = Entry {
            term: 7,
            index,
            context: vec![1; 20].into(),
            data: vec![9; bytes].into(),
            ..Entry::default()
        };
        if bytes == 0 {
            entry.set_entry_type(EntryType::EntryConfChangeV2);
        }
        entry
    }

    fn append() -> Message {
        let mut message = Message {
            from: 1,
            to: 2,
            term: 8,
            log_term: 7,
            index: 40,
            commit: 39,
            priority: -3,
            ..Message::default()
        };
        message.set_msg_type(MessageType::MsgAppend);
        message.entries = vec![entry(41, 64), entry(42, 0), entry(43, 1_000)].into();
        message
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        for kind in TRAVELLING {
            let mut message = append();
            message.set_msg_type(kind);
            if [MessageType::MsgReadIndex, MessageType::MsgReadIndexResp].contains(&kind) {
                message.entries.truncate(1);
            }
            if kind == MessageType::MsgSnapshot {
                (message.index, message.log_term) = (0, 0);
                message.mut_snapshot().mut_metadata().index = 12;
                message.mut_snapshot().mut_metadata().term = 3;
                message.entries.clear();
            }
            let mut bytes = Vec::new();
            assert!(pack(&message, &mut bytes));
            assert_eq!(unpack(&bytes).unwrap(), message);
        }
    }

    #[test]
    fn a_message_to_oneself_does_not_travel() {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgHup);
        let mut bytes = Vec::new();
        assert!(!pack(&message, &mut bytes));
        assert!(bytes.is_empty());
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        let mut bytes = Vec::new();
        pack(&append(), &mut bytes);
        for end in 0..bytes.len() {
            assert_eq!(unpack(&bytes[..end]), None, "cut at {end}");
        }
        let mut message = append();
        message.entries[1].index = 50;
        let mut bytes = Vec::new();
        pack(&message, &mut bytes);
        assert_eq!(unpack(&bytes), None, "entries out of order");
        let seed: u64 = rand::random();
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            pack(&append(), &mut bytes);
            for _ in 0..random.random_range(1..4) {
                let place = random.random_range(0..bytes.len());
                bytes[place] = random.random();
            }
            // Whatever it is now, reading it ends, and what is read can be written again.
            if let Some(message) = unpack(&bytes) {
                let mut again = Vec::new();
                pack(&message, &mut again);
                assert_eq!(again, bytes, "seed {seed}");
            }
        }
    }
}

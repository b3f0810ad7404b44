//! Bytes that nobody meant to send: nothing that reads them may panic, and what is read is bounded.
//!
//! Always holds: everything comes from one seed, which a failure prints. `EXAHOUR_SEED` sets it.

use exahour_wire::catalogue::{ENUMERATIONS, EnumerationTable, MESSAGES};
use exahour_wire::codes::{self, Enumeration, Raw};
use exahour_wire::events::EventPrefix;
use exahour_wire::framing::{Cut, FRAMING_BYTES, cut, framing_header};
use exahour_wire::limits::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN};
use exahour_wire::message::{
    HEADER_BYTES, Text8, Text16, Text32, messages, peek_header, peek_length,
};
use exahour_wire::record::{Record, command_bytes, lines_of};
use exahour_wire::reject::Reject;

use crate::every::forms;
use crate::samples::samples;

/// xorshift64*: small, seeded, good enough to throw bytes.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() >> 33) as usize % bound
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.roll() >> 40) as u8).collect()
    }
}

/// Prints the seed if the test dies.
struct Seeded(u64);

impl Drop for Seeded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with EXAHOUR_SEED={}", self.0);
        }
    }
}

fn seeded() -> (Seeded, Dice) {
    let given = std::env::var("EXAHOUR_SEED").ok();
    let seed = given.map_or(0x5BE0_0600, |text| text.parse().expect("a number"));
    (Seeded(seed), Dice(seed | 1))
}

/// Random bytes, a golden message with damage, or several messages in a row.
fn throw(dice: &mut Dice, golden: &[Vec<u8>]) -> Vec<u8> {
    let length = dice.below(2 * MESSAGE_BYTES_MAX);
    match dice.below(4) {
        0 => dice.bytes(length),
        1 => {
            let mut bytes = golden[dice.below(golden.len())].clone();
            for _ in 0..=dice.below(4) {
                let reach = if dice.below(2) == 0 {
                    HEADER_BYTES
                } else {
                    bytes.len()
                };
                let place = dice.below(reach);
                bytes[place] = dice.roll() as u8;
            }
            bytes
        }
        2 => {
            let mut bytes = golden[dice.below(golden.len())].clone();
            bytes.truncate(dice.below(bytes.len() + 1));
            bytes
        }
        _ => {
            let count = dice.below(6);
            let row = (0..count).map(|_| golden[dice.below(golden.len())].clone());
            let mut bytes = row.collect::<Vec<_>>().concat();
            let tail = dice.below(12);
            bytes.extend(dice.bytes(tail));
            bytes
        }
    }
}

#[test]
fn no_bytes_can_make_a_reader_panic() {
    let (_seeded, mut dice) = seeded();
    let golden: Vec<Vec<u8>> = samples().into_iter().map(|sample| sample.bytes).collect();
    let forms = forms();
    let mut read = 0;
    for _ in 0..20_000 {
        let bytes = throw(&mut dice, &golden);
        let header = peek_header(&bytes);
        assert_eq!(header.is_some(), bytes.len() >= HEADER_BYTES);
        assert_eq!(peek_length(&bytes).is_some(), header.is_some());
        for form in &forms {
            if let Some(shown) = (form.show)(&bytes) {
                read += 1;
                assert!(bytes.len() >= form.bytes && !shown.is_empty());
            }
        }
        let walked: usize = messages(&bytes).map(<[u8]>::len).sum();
        assert!(walked <= bytes.len());
        assert_eq!(EventPrefix::peek(&bytes).is_some(), bytes.len() >= 40);
        record(&bytes);
    }
    assert!(
        read > 1_000,
        "only {read} messages could be read: the dice are too wild"
    );
}

fn record(bytes: &[u8]) {
    let Ok(record) = Record::from_wire(bytes) else {
        return;
    };
    let header = peek_header(record.bytes()).unwrap();
    let known = command_bytes(header.template_id).unwrap();
    assert_eq!(record.bytes().len(), known);
    assert_eq!(record.bytes()[HEADER_BYTES..], bytes[HEADER_BYTES..known]);
    assert_eq!(lines_of(&record.lines()[0]), Some(record.lines().len()));
    let declared = MESSAGES
        .iter()
        .find(|message| message.template_id == header.template_id);
    assert_eq!(header.block_length, declared.unwrap().block_length);
}

#[test]
fn every_command_makes_a_record_and_nothing_else_does() {
    for sample in samples() {
        let command = (100..300).contains(&sample.message.template_id);
        let record = Record::from_wire(&sample.bytes);
        assert_eq!(record.is_ok(), command, "{}", sample.name);
        if let Ok(record) = record {
            assert_eq!(record.bytes(), sample.bytes, "{}", sample.name);
        }
    }
    for template in 0..=u16::MAX {
        let listed = MESSAGES
            .iter()
            .any(|m| m.template_id == template && (100..300).contains(&template));
        assert_eq!(command_bytes(template).is_some(), listed, "{template}");
    }
}

#[test]
fn a_stream_is_cut_where_its_frames_end() {
    let (_seeded, mut dice) = seeded();
    for _ in 0..20_000 {
        let length = dice.below(2 * MESSAGE_BYTES_MAX);
        let mut bytes = dice.bytes(length);
        if dice.below(2) == 0 && bytes.len() >= FRAMING_BYTES {
            let named = dice.below(MESSAGE_BYTES_MAX + 1);
            bytes[..FRAMING_BYTES].copy_from_slice(&framing_header(named));
        }
        match cut(&bytes) {
            Cut::Whole { bytes: message } => {
                assert!((MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&message));
                assert!(message + FRAMING_BYTES <= bytes.len());
            }
            Cut::Partial => assert!(bytes.len() < FRAMING_BYTES + MESSAGE_BYTES_MAX),
            Cut::BadLength { named } => {
                let limits = FRAMING_BYTES + MESSAGE_BYTES_MIN..=FRAMING_BYTES + MESSAGE_BYTES_MAX;
                assert!(!limits.contains(&(named as usize)));
            }
            Cut::BadEncoding { named } => assert_ne!(named, 0x5BE0),
        }
    }
    // However a stream of whole frames arrives, the same messages come out.
    let golden: Vec<Vec<u8>> = samples().into_iter().map(|sample| sample.bytes).collect();
    let mut stream = Vec::new();
    for message in &golden {
        stream.extend_from_slice(&framing_header(message.len()));
        stream.extend_from_slice(message);
    }
    let (mut received, mut start, mut end) = (Vec::new(), 0, 0);
    while start < stream.len() {
        end = (end + 1 + dice.below(90)).min(stream.len());
        while let Cut::Whole { bytes } = cut(&stream[start..end]) {
            let message = &stream[start + FRAMING_BYTES..start + FRAMING_BYTES + bytes];
            received.push(message.to_vec());
            start += FRAMING_BYTES + bytes;
        }
    }
    assert_eq!(received, golden);
}

#[test]
fn text_is_what_is_printable_and_fits() {
    let (_seeded, mut dice) = seeded();
    for _ in 0..20_000 {
        let bytes: [u8; 8] = dice.roll().to_le_bytes().map(|byte| match byte % 4 {
            0 => 0,
            _ => byte / 2,
        });
        let end = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let lawful = bytes[..end].iter().all(|byte| (0x20..0x7F).contains(byte));
        let read = Text8(bytes).as_str().map(str::to_owned);
        assert_eq!(read.is_some(), lawful, "{bytes:?}");
        if let Some(text) = read {
            assert_eq!(Text8::new(&text), Some(Text8(bytes)));
        }
    }
    assert!(Text8::new("12345678").is_some() && Text8::new("123456789").is_none());
    assert!(Text16::new(&"x".repeat(16)).is_some() && Text16::new(&"x".repeat(17)).is_none());
    assert!(Text32::new(&"x".repeat(32)).is_some() && Text32::new(&"x".repeat(33)).is_none());
    for refused in ["\n", "\0", "caf\u{e9}", "\u{7f}", "\u{1F600}"] {
        assert_eq!(Text8::new(refused), None, "{refused:?}");
    }
}

/// Decodes every number its integer can hold, and compares with the table.
fn every_number<E: Enumeration<Repr: TryFrom<u64>>>() -> EnumerationTable {
    for number in 0..1_u64 << (8 * size_of::<E>()) {
        let repr = E::Repr::try_from(number).ok().unwrap();
        let listed = E::TABLE.iter().any(|row| row.0 == number);
        match Raw::<E>::new(repr).decode() {
            None => assert!(!listed, "{} {number}", E::NAME),
            Some(value) => {
                assert!(listed, "{} {number}", E::NAME);
                assert_eq!(value.repr().into(), number, "{}", E::NAME);
                assert!(Raw::from(value) == Raw::new(repr), "{} {number}", E::NAME);
            }
        }
    }
    EnumerationTable::of::<E>()
}

#[test]
fn every_number_of_every_enumeration_decodes_by_its_table() {
    macro_rules! walk {
        ($($name:ident)*) => { vec![$(every_number::<codes::$name>()),*] };
    }
    let mut walked = walk!(Side OrderType PegReference TimeInForce SelfTradePrevention Scope KillAction
        CancelOnDisconnect DisconnectCause ContractKind ResourceClass Firmness Liquidity Priority
        CancelReason TransferKind DeliveryOutcome Durability FlowType NegotiationRejectCode
        EstablishmentRejectCode RetransmitRejectCode TerminationCode FeedRequestKind FeedRejectCode
        FeedDepth LevelAction
        Phase Allocation);
    walked.push(every_number::<Reject>());
    assert_eq!(walked, ENUMERATIONS);
}

#[test]
fn unknown_bits_of_the_sets_are_noticed() {
    for bits in 0..=u8::MAX {
        assert_eq!(codes::OrderFlags(bits).has_unknown(), bits > 1, "{bits}");
    }
    for bit in 0..32 {
        let unknown = codes::Permissions(1 << bit).has_unknown();
        assert_eq!(unknown, bit >= codes::Permissions::TABLE.len(), "{bit}");
    }
}

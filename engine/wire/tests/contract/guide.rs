//! What `docs/WIRE.md` shows is what the structs give: every example, every table of codes.
//!
//! A fenced block that opens with "```hex NAME", "```codes ENUMERATION" or "```limits" is made here
//! and compared; `UPDATE_EXPECT=1` rewrites it. The examples are then read back out of the document
//! and checked as a stranger would: cut, decoded, their codes of authentication made again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use exahour_wire::catalogue::{ENUMERATIONS, EnumerationTable, declaration};
use exahour_wire::codes::{
    CancelOnDisconnect, Durability, FeedRequestKind, FlowType, OrderFlags, OrderType,
    SelfTradePrevention, Side, TerminationCode, TimeInForce,
};
use exahour_wire::events::OrderAccepted;
use exahour_wire::framing::{Cut, FRAMING_BYTES, cut, framing_header};
use exahour_wire::ids::{
    AccountId, ClientOrderId, CommandSequence, EventSequence, FeedSequence, InstrumentId,
    MessageSequence, OrderId, ParticipantId, SessionId, SessionVersion,
};
use exahour_wire::limits::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN, RETRANSMIT_COUNT_MAX};
use exahour_wire::market_data::{DropCopyRequest, FeedRequest};
use exahour_wire::message::{Digest, HEADER_BYTES, Message, peek_header};
use exahour_wire::orders::NewOrder;
use exahour_wire::session::{
    Establish, EstablishmentAck, Negotiate, NegotiationResponse, NotApplied, Retransmission,
    RetransmitRequest, Sequence, Terminate,
};
use exahour_wire::units::{Millis, Money, Nanos, Price, Quantity};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::agreement::{published_name, published_value};
use crate::golden::expect_file;
use crate::samples::meaning_of;

/// The key of the session in the examples; the document states it.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

const SESSION: SessionId = SessionId(7);
/// Midnight at the start of 2026.
const MIDNIGHT: u64 = 1_767_225_600_000_000_000;
const VERSION: SessionVersion = SessionVersion(MIDNIGHT);
const CREDENTIALS_BYTES: usize = size_of::<Digest>();

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/WIRE.md")
}

fn code_of(signed: &[u8]) -> Digest {
    let digits = KEY.as_bytes().chunks(2);
    let key: Vec<u8> = digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(signed);
    Digest(mac.finalize().into_bytes().into())
}

/// Fills in the credentials, which are the last field of every message that has them.
fn signed(unsigned: &impl Message) -> Vec<u8> {
    let mut bytes = unsigned.bytes().to_vec();
    let end = bytes.len() - CREDENTIALS_BYTES;
    let code = code_of(&bytes[..end]);
    bytes[end..].copy_from_slice(&code.0);
    bytes
}

fn logon_examples() -> Vec<(&'static str, Vec<u8>)> {
    let negotiate = Negotiate {
        session: SESSION,
        client_flow: FlowType::Idempotent.into(),
        version: VERSION,
        timestamp: Nanos(MIDNIGHT),
        ..Negotiate::blank()
    };
    let response = NegotiationResponse {
        session: SESSION,
        server_flow: FlowType::Recoverable.into(),
        version: VERSION,
        request_timestamp: Nanos(MIDNIGHT),
        ..NegotiationResponse::blank()
    };
    let establish = Establish {
        session: SESSION,
        keep_alive: Millis(1_000),
        version: VERSION,
        timestamp: Nanos(MIDNIGHT + 1_000_000),
        next_sequence: MessageSequence(1),
        cancel_mode: CancelOnDisconnect::OnDisconnect.into(),
        cancel_grace: Millis(5_000),
        ..Establish::blank()
    };
    let ack = EstablishmentAck {
        session: SESSION,
        keep_alive: Millis(1_000),
        version: VERSION,
        request_timestamp: Nanos(MIDNIGHT + 1_000_000),
        next_sequence: MessageSequence(1),
        expected_sequence: MessageSequence(1),
        durability: Durability::Durable.into(),
        ..EstablishmentAck::blank()
    };
    vec![
        ("negotiate", signed(&negotiate)),
        ("negotiation-response", response.bytes().to_vec()),
        ("establish", signed(&establish)),
        ("establishment-ack", ack.bytes().to_vec()),
    ]
}

fn order_examples() -> Vec<(&'static str, Vec<u8>)> {
    let order = NewOrder {
        session: SESSION,
        sequence: MessageSequence(1),
        client_order_id: ClientOrderId(42),
        price: Price(2_500_000),
        quantity: Quantity(10),
        account: AccountId(1_001),
        instrument: InstrumentId(3),
        side: Side::Buy.into(),
        order_type: OrderType::Limit.into(),
        time_in_force: TimeInForce::GoodTillCancelled.into(),
        self_trade_prevention: SelfTradePrevention::CancelNewest.into(),
        flags: OrderFlags::POST_ONLY,
        ..NewOrder::blank()
    };
    let accepted = OrderAccepted {
        session: SESSION,
        sequence: MessageSequence(1),
        event: EventSequence(1_234),
        time: Nanos(MIDNIGHT + 2_000_000),
        command: CommandSequence(567),
        client_order_id: ClientOrderId(42),
        order: OrderId(9 << 24 | 5),
        price: Price(2_500_000),
        quantity: Quantity(10),
        account: AccountId(1_001),
        instrument: InstrumentId(3),
        side: Side::Buy.into(),
        order_type: OrderType::Limit.into(),
        time_in_force: TimeInForce::GoodTillCancelled.into(),
        flags: OrderFlags::POST_ONLY,
        client_sequence: MessageSequence(1),
        ..OrderAccepted::blank()
    };
    vec![
        ("new-order", order.bytes().to_vec()),
        ("order-accepted", accepted.bytes().to_vec()),
    ]
}

fn recovery_examples() -> Vec<(&'static str, Vec<u8>)> {
    let not_applied = NotApplied {
        session: SESSION,
        from_sequence: MessageSequence(8),
        count: 2,
        ..NotApplied::blank()
    };
    let request = RetransmitRequest {
        session: SESSION,
        from_sequence: MessageSequence(4),
        count: 2,
        timestamp: Nanos(MIDNIGHT + 3_000_000),
        ..RetransmitRequest::blank()
    };
    let retransmission = Retransmission {
        session: SESSION,
        from_sequence: MessageSequence(4),
        count: 2,
        request_timestamp: Nanos(MIDNIGHT + 3_000_000),
        ..Retransmission::blank()
    };
    let sequence = Sequence {
        session: SESSION,
        next_sequence: MessageSequence(10),
        ..Sequence::blank()
    };
    let terminate = Terminate {
        session: SESSION,
        code: TerminationCode::Finished.into(),
        ..Terminate::blank()
    };
    vec![
        ("not-applied", not_applied.bytes().to_vec()),
        ("sequence", sequence.bytes().to_vec()),
        ("retransmit-request", request.bytes().to_vec()),
        ("retransmission", retransmission.bytes().to_vec()),
        ("terminate", terminate.bytes().to_vec()),
    ]
}

fn feed_examples() -> Vec<(&'static str, Vec<u8>)> {
    let snapshot = FeedRequest {
        instrument: InstrumentId(3),
        kind: FeedRequestKind::SnapshotThenUpdates.into(),
        ..FeedRequest::blank()
    };
    let again = FeedRequest {
        from_sequence: FeedSequence(81_720),
        kind: FeedRequestKind::UpdatesFrom.into(),
        ..FeedRequest::blank()
    };
    let drop_copy = DropCopyRequest {
        session: SESSION,
        participant: ParticipantId(12),
        after_event: EventSequence(1_234),
        timestamp: Nanos(MIDNIGHT + 4_000_000),
        ..DropCopyRequest::blank()
    };
    vec![
        ("feed-request", snapshot.bytes().to_vec()),
        ("feed-request-again", again.bytes().to_vec()),
        ("drop-copy-request", signed(&drop_copy)),
    ]
}

fn examples() -> Vec<(&'static str, Vec<u8>)> {
    [
        logon_examples(),
        order_examples(),
        recovery_examples(),
        feed_examples(),
    ]
    .concat()
}

/// One field in words.
fn words(type_name: &str, meaning: &Value) -> String {
    let raw = &meaning["raw"];
    match meaning["kind"].as_str().unwrap() {
        "enum" => match meaning["name"].as_str() {
            Some(name) if coded(type_name).primitive == "char" => {
                let value = published_value(coded(type_name), raw.as_u64().unwrap());
                format!(" = {name} ('{value}')")
            }
            name => format!(" = {} ({raw})", name.unwrap_or("none")),
        },
        "decimal" if meaning["none"] == true => " = none".to_owned(),
        "decimal" => format!(" = {} ({raw})", Money(raw.as_i64().unwrap())),
        "set" => {
            let names: Vec<&str> = meaning["names"].as_array().map_or(vec![], |names| {
                names.iter().filter_map(Value::as_str).collect()
            });
            format!(" = {}", names.join(", "))
        }
        "number" if meaning["none"] == true => " = none (0)".to_owned(),
        "number" => format!(" = {raw}"),
        "text" => format!(" = {:?}", meaning["text"].as_str().unwrap()),
        _ if type_name.starts_with("Pad") => String::new(),
        _ => format!(": {type_name}"),
    }
}

fn row(bytes: &[u8], words: &str) -> String {
    let mut rows = String::new();
    for (place, part) in bytes.chunks(8).enumerate() {
        let hex: Vec<String> = part.iter().map(|byte| format!("{byte:02x}")).collect();
        let words = if place == 0 { words } else { "" };
        rows.push_str(format!("{:<24} {words}", hex.join(" ")).trim_end());
        rows.push('\n');
    }
    rows
}

fn hex_block(bytes: &[u8]) -> String {
    let header = peek_header(bytes).unwrap();
    let message = declaration(header.template_id).unwrap();
    let framing = framing_header(bytes.len());
    let length = bytes.len() + FRAMING_BYTES;
    let mut rows = row(&framing, &format!("framing: {length} bytes, SBE 1.0"));
    rows.push_str(&row(
        &bytes[..HEADER_BYTES],
        &format!(
            "header: block {}, template {} {}, schema {}, version {}",
            header.block_length, header.template_id, message.name, header.schema_id, header.version
        ),
    ));
    for field in message.fields {
        let start = HEADER_BYTES + field.offset;
        let content = &bytes[start..start + field.bytes];
        let meaning = words(field.type_name, &meaning_of(field, content));
        let told = format!("{}{meaning}", published_name(field.name));
        rows.push_str(&row(content, &told));
    }
    rows
}

fn coded(name: &str) -> &'static EnumerationTable {
    ENUMERATIONS
        .iter()
        .find(|known| known.name == name)
        .unwrap_or_else(|| panic!("no enumeration {name}"))
}

fn codes_block(name: &str) -> String {
    let code = coded(name);
    let width = code.rows.iter().map(|row| row.1.len()).max().unwrap_or(0);
    let rows = code.rows.iter().map(|(number, name, text)| {
        let text = text.trim();
        let value = published_value(code, *number);
        format!("{value:>3}  {name:<width$}  {text}\n")
    });
    rows.collect()
}

fn limits_block() -> String {
    format!(
        "{:>6}  bytes of the shortest frame: framing and a bare header\n\
         {:>6}  bytes of the longest frame\n\
         {:>6}  reports in one retransmission\n",
        FRAMING_BYTES + MESSAGE_BYTES_MIN,
        FRAMING_BYTES + MESSAGE_BYTES_MAX,
        RETRANSMIT_COUNT_MAX,
    )
}

/// The content a fenced block should have, or `None` where it is not one of ours.
fn wanted(opening: &str) -> Option<String> {
    match opening.split_once(' ') {
        Some(("hex", name)) => {
            let examples = examples();
            let example = examples.iter().find(|(known, _)| *known == name);
            let (_, bytes) = example.unwrap_or_else(|| panic!("no example {name}"));
            Some(hex_block(bytes))
        }
        Some(("codes", name)) => Some(codes_block(name)),
        _ if opening == "limits" => Some(limits_block()),
        _ => None,
    }
}

/// The fenced blocks of a document: what stands behind the opening marks, and the content.
fn blocks(document: &str) -> Vec<(&str, &str)> {
    let mut parts = document.split("\n```");
    parts.next();
    let mut blocks = Vec::new();
    while let (Some(block), Some(_)) = (parts.next(), parts.next()) {
        blocks.push(block.split_once('\n').unwrap_or((block, "")));
    }
    blocks
}

#[test]
fn the_blocks_of_the_guide_are_what_the_structs_give() {
    let found = std::fs::read_to_string(document()).unwrap();
    let mut made = String::new();
    let mut rest = found.as_str();
    while let Some((before, after)) = rest.split_once("\n```") {
        let (opening, content) = after.split_once('\n').unwrap();
        let (content, after) = content.split_once("```").unwrap();
        let content = wanted(opening).unwrap_or_else(|| content.to_owned());
        made.push_str(&format!("{before}\n```{opening}\n{content}```"));
        rest = after;
    }
    made.push_str(rest);
    expect_file(&document(), &made);

    let shown: BTreeSet<&str> = blocks(&found)
        .iter()
        .filter_map(|(opening, _)| opening.strip_prefix("hex "))
        .collect();
    let known: BTreeSet<&str> = examples().iter().map(|(name, _)| *name).collect();
    assert_eq!(shown, known);
    assert!(found.contains(KEY), "the key of the examples is not stated");
}

#[test]
fn the_examples_can_be_read_out_of_the_guide() {
    let text = std::fs::read_to_string(document()).unwrap();
    let mut signed = 0;
    for (opening, content) in blocks(&text) {
        let Some(name) = opening.strip_prefix("hex ") else {
            continue;
        };
        let digits = content.lines().flat_map(|line| {
            // Up to eight bytes in hex fill the first 23 columns; words follow.
            let end = line.len().min(23);
            line[..end].split_whitespace()
        });
        let stream: Vec<u8> = digits
            .map(|digits| u8::from_str_radix(digits, 16).unwrap())
            .collect();
        let Cut::Whole { bytes } = cut(&stream) else {
            panic!("{name}: is not one frame");
        };
        assert_eq!(bytes + FRAMING_BYTES, stream.len(), "{name}");
        let message = &stream[FRAMING_BYTES..];
        let template = peek_header(message).unwrap().template_id;
        let declared = declaration(template).unwrap();
        let form = crate::every::forms();
        let form = form.iter().find(|form| form.name == declared.name).unwrap();
        assert_eq!((form.read)(message).as_deref(), Some(message), "{name}");
        let last = declared.fields.last().unwrap();
        if last.name == "credentials" {
            signed += 1;
            assert_eq!(last.bytes, CREDENTIALS_BYTES);
            let (text, code) = message.split_at(message.len() - CREDENTIALS_BYTES);
            assert_eq!(code_of(text).0, code, "{name}");
        }
    }
    assert_eq!(signed, 3);
}

#[test]
fn credentials_are_the_last_field_of_every_message_that_has_them() {
    for message in exahour_wire::catalogue::MESSAGES {
        let place = message.fields.iter().position(|f| f.name == "credentials");
        assert!(
            place.is_none_or(|place| place + 1 == message.fields.len()),
            "{}",
            message.name
        );
    }
}

#[test]
fn codes_are_hmac_sha256() {
    // RFC 4231, test case 2.
    let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
    mac.update(b"what do ya want for nothing?");
    let code = mac.finalize().into_bytes();
    assert_eq!(code[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    assert_eq!(code[28..], [0x64, 0xec, 0x38, 0x43]);
}

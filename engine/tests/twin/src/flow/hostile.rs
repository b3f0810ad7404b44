//! Commands that nobody sane would send: fields at random or at their extremes.
//!
//! Always holds: a record still has the length that its template declares, or, where the template
//! is none, a whole number of lines; that is what the gateway and the journal guarantee.

use exahour_wire::catalogue::{ENUMERATIONS, declaration};
use exahour_wire::internal::ActivateBehaviour;
use exahour_wire::limits::{
    ACCOUNTS_MAX, HOURS_MAX, MONEY_MAX, POSITION_MAX, PRICE_MAX, QUANTITY_MAX, RECORD_LINE_BYTES,
    SESSIONS_MAX,
};
use exahour_wire::message::{
    Field, HEADER_BYTES, Header, Message, SCHEMA_ID, messages, peek_header,
};
use exahour_wire::operations::CreateInstrument;
use exahour_wire::record::command_bytes;
use exahour_wire::units::{Hours, Money, Nanos, Price, Quantity};

use super::dice::Dice;
use super::market::Market;
use crate::behaviour::NEWEST;

/// What rightly stops a replica where it is made up: checkpoints, and behaviours that nobody knows.
const STOPPING: [u16; 2] = [204, 207];

/// Makes a sane command worse, or another one.
pub(super) fn spoil(mut record: Vec<u8>, market: &Market, dice: &mut Dice, now: Nanos) -> Vec<u8> {
    match dice.below(100) {
        0..35 => record,
        35..38 => nonsense(market, dice),
        38..42 => random_fields(market, dice),
        42..52 => extreme_listing(record, dice, now),
        52..62 => huge(record, dice),
        _ => {
            for _ in 0..dice.between(1, 3) {
                spoil_field(&mut record, dice);
            }
            record
        }
    }
}

fn template_of(record: &[u8]) -> u16 {
    peek_header(record).map_or(0, |header| header.template_id)
}

/// A record whose template is no command.
fn nonsense(market: &Market, dice: &mut Dice) -> Vec<u8> {
    let template_id = loop {
        let template = dice.between(100, 299) as u16;
        if command_bytes(template).is_none() {
            break template;
        }
    };
    let bytes = RECORD_LINE_BYTES * dice.between(1, 4) as usize;
    let header = Header {
        block_length: (bytes - HEADER_BYTES) as u16,
        template_id,
        schema_id: SCHEMA_ID,
        version: 0,
    };
    let mut record = bytemuck::bytes_of(&header).to_vec();
    record.extend((HEADER_BYTES..bytes).map(|_| dice.any() as u8));
    name_sender(&mut record, market, dice);
    record
}

/// A command with every field random, though it may be a real session's next message.
fn random_fields(market: &Market, dice: &mut Dice) -> Vec<u8> {
    let template = loop {
        let template = dice.between(100, 299) as u16;
        if command_bytes(template).is_some() && !STOPPING.contains(&template) {
            break template;
        }
    };
    let Some(declaration) = declaration(template) else {
        return nonsense(market, dice);
    };
    let header = Header {
        block_length: declaration.block_length,
        template_id: template,
        schema_id: SCHEMA_ID,
        version: 0,
    };
    let mut record = bytemuck::bytes_of(&header).to_vec();
    record.extend((0..declaration.block_length).map(|_| dice.any() as u8));
    name_sender(&mut record, market, dice);
    record
}

/// Mostly makes a real session the sender, and the record its next message.
fn name_sender(record: &mut [u8], market: &Market, dice: &mut Dice) {
    if dice.percent(70) {
        let sender = dice.pick(&market.sessions);
        record[8..12].copy_from_slice(&sender.id.0.to_le_bytes());
        record[12..16].copy_from_slice(&sender.next_sequence.to_le_bytes());
    }
}

/// A listing at the limits of what is lawful, by the exchange itself.
fn extreme_listing(record: Vec<u8>, dice: &mut Dice, now: Nanos) -> Vec<u8> {
    let Some(mut listing) = CreateInstrument::read(&record) else {
        return huge(record, dice);
    };
    listing.session = exahour_wire::ids::SessionId::NONE;
    let tick = dice.pick(&[1, 7, 1_000_000, PRICE_MAX.0 / 3, PRICE_MAX.0]);
    let steps = dice.pick(&[1, 2, PRICE_MAX.0 / tick, 1 + PRICE_MAX.0 / tick]);
    listing.tick = Price(tick);
    listing.reference_price = Price(tick * steps.max(1));
    listing.hours = Hours(dice.pick(&[1, HOURS_MAX.0, HOURS_MAX.0 + 1]));
    listing.initial_margin = Money(dice.pick(&[0, 1, MONEY_MAX.0, MONEY_MAX.0 + 1]));
    listing.quantity_max = Quantity(dice.pick(&[1, QUANTITY_MAX.0, QUANTITY_MAX.0 + 1]));
    listing.notional_max = Money(dice.pick(&[1, MONEY_MAX.0, MONEY_MAX.0]));
    if dice.percent(20) {
        listing.last_trade_at = Nanos(dice.pick(&[now.0, now.0.saturating_add(1), u64::MAX]));
        listing.delivery_start = Nanos(dice.pick(&[now.0.saturating_add(1), u64::MAX]));
    }
    listing.bytes().to_vec()
}

/// Sizes, prices and amounts as large as they may be, and a little beyond.
fn huge(mut record: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let Some(declaration) = declaration(template_of(&record)) else {
        return record;
    };
    for field in declaration.fields {
        let most: u64 = match field.type_name {
            "Quantity" => dice.pick(&[QUANTITY_MAX.0, POSITION_MAX.0, QUANTITY_MAX.0 / 7]),
            "Price" => PRICE_MAX.0 as u64,
            "Money" => MONEY_MAX.0 as u64,
            _ => continue,
        };
        let value = match dice.below(10) {
            0 => most + 1,
            1 => most - 1,
            2 => most / 100,
            3..6 => continue,
            _ => most,
        };
        write(&mut record, field, &value.to_le_bytes());
    }
    record
}

fn write(record: &mut [u8], field: &Field, bytes: &[u8]) {
    let start = HEADER_BYTES + field.offset;
    let count = field.bytes.min(bytes.len());
    record[start..start + count].copy_from_slice(&bytes[..count]);
}

/// Puts something odd in one field.
fn spoil_field(record: &mut [u8], dice: &mut Dice) {
    let template = template_of(record);
    let Some(declaration) = declaration(template) else {
        return;
    };
    if STOPPING.contains(&template) {
        return;
    }
    let place = dice.below(declaration.fields.len() as u64) as usize;
    let field = &declaration.fields[place];
    // Most spoiled commands must still get past the session's own counters.
    if matches!(field.name, "session" | "sequence" | "version") && dice.percent(90) {
        return;
    }
    let known = ENUMERATIONS
        .iter()
        .find(|code| code.name == field.type_name);
    let value = match (known, dice.below(8)) {
        (Some(code), 0..6) => code.rows[dice.below(code.rows.len() as u64) as usize].0,
        (_, 0) => 0,
        (_, 1) => 1,
        (_, 2) => u64::MAX,
        (_, 3) => i64::MAX as u64,
        (_, 4) => i64::MIN as u64,
        (_, 5) if dice.percent(50) => dice.pick(&[
            u64::from(SESSIONS_MAX),
            u64::from(SESSIONS_MAX) + 1,
            u64::from(ACCOUNTS_MAX),
            u64::from(ACCOUNTS_MAX) + 1,
        ]),
        (_, 5) => dice.below(200),
        (_, 6) => u64::from(u32::MAX) + dice.below(3) - 1,
        _ => dice.any(),
    };
    let bytes: Vec<u8> = value.to_le_bytes().into_iter().cycle().take(32).collect();
    write(record, field, &bytes);
}

/// Cuts, lengthens or overwrites a row of records, or makes bytes up.
pub(super) fn garbage(mut bytes: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let length = bytes.len() as u64;
    match dice.below(6) {
        0 => bytes.truncate(dice.below(length) as usize),
        1 => bytes.extend((0..dice.below(300)).map(|_| dice.any() as u8)),
        2 => bytes = (0..dice.below(400)).map(|_| dice.any() as u8).collect(),
        3 => {
            bytes.drain(..dice.below(length) as usize);
        }
        // A header that names another template or another length.
        4 => {
            let place = dice.below(HEADER_BYTES as u64) as usize;
            if !STOPPING.contains(&template_of(&bytes)) {
                bytes[place] = dice.any() as u8;
            }
        }
        _ => {
            let place = dice.below(length) as usize;
            bytes[place] ^= 1 << dice.below(8);
        }
    }
    if wants_unknown_behaviour(&bytes) {
        bytes.clear();
    }
    bytes
}

/// The same command with one field a little different.
pub(super) fn nudge(mut record: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    if let Some(declaration) = declaration(template_of(&record)) {
        let place = dice.below(declaration.fields.len() as u64) as usize;
        let byte = HEADER_BYTES + declaration.fields[place].offset;
        let before = record[byte];
        record[byte] = before.wrapping_add(dice.pick(&[1, 2, 0xFF]));
        if wants_unknown_behaviour(&record) {
            record[byte] = before;
        }
    }
    record
}

fn wants_unknown_behaviour(commands: &[u8]) -> bool {
    let mut activations = messages(commands).filter_map(ActivateBehaviour::read);
    activations.any(|it| it.behaviour > NEWEST)
}

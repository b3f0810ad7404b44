//! Sample bytes for every message, made from its declaration alone, and what they mean.
//!
//! Called by `golden` and `decoders`. The bytes are put together field by field, not through the
//! structs, so that a struct that reads them differently is caught.
//!
//! Always holds: every field of a full sample differs from its neighbours and from zero; filling is
//! zero. The same declaration gives the same bytes.

use exahour_wire::catalogue::{ENUMERATIONS, EnumerationTable, MESSAGES};
use exahour_wire::codes::{OrderFlags, Permissions};
use exahour_wire::message::{Declaration, Field, SCHEMA_ID, SCHEMA_VERSION};
use exahour_wire::units::Price;
use serde_json::{Map, Value, json};

use crate::agreement::published_name;

/// How a sample is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filling {
    /// Every field with a value of its own.
    Full,
    /// Every field that can say "none" says so; the others are zero.
    None,
}

/// One sample of one message.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The message, and `.none` where fields are empty.
    pub(crate) name: String,
    /// The message.
    pub(crate) message: &'static Declaration,
    /// Its bytes, header first.
    pub(crate) bytes: Vec<u8>,
    /// What each field means, by its name in the schema.
    pub(crate) meaning: Map<String, Value>,
}

/// Two samples of every message: full, and empty.
pub(crate) fn samples() -> Vec<Sample> {
    MESSAGES
        .iter()
        .flat_map(|message| {
            [
                sample(message, Filling::Full),
                sample(message, Filling::None),
            ]
        })
        .collect()
}

fn sample(message: &'static Declaration, filling: Filling) -> Sample {
    let header = [
        message.block_length,
        message.template_id,
        SCHEMA_ID,
        SCHEMA_VERSION,
    ];
    let mut bytes: Vec<u8> = header.iter().flat_map(|part| part.to_le_bytes()).collect();
    let mut meaning = Map::new();
    for (place, field) in message.fields.iter().enumerate() {
        let seed = u64::from(message.template_id) << 16 | place as u64;
        let content = match filling {
            Filling::Full => full(field, seed),
            Filling::None => empty(field),
        };
        meaning.insert(published_name(field.name), meaning_of(field, &content));
        bytes.extend_from_slice(&content);
    }
    let suffix = if filling == Filling::None {
        ".none"
    } else {
        ""
    };
    Sample {
        name: format!("{}{suffix}", message.name),
        message,
        bytes,
        meaning,
    }
}

/// Sebastiano Vigna's splitmix64: well-spread bits from a counter.
fn mixed(seed: u64) -> u64 {
    let mut mix = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mix = (mix ^ (mix >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mix = (mix ^ (mix >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mix ^ (mix >> 31)
}

fn enumeration(field: &Field) -> Option<&'static EnumerationTable> {
    ENUMERATIONS
        .iter()
        .find(|code| code.name == field.type_name)
}

fn full(field: &Field, seed: u64) -> Vec<u8> {
    if let Some(code) = enumeration(field) {
        // Where zero is a value, it would look like an empty field.
        let numbers = code.rows.iter().map(|row| row.0);
        let rows: Vec<u64> = numbers.filter(|number| *number != 0).collect();
        let number = rows[mixed(seed) as usize % rows.len()];
        return number.to_le_bytes()[..code.bytes].to_vec();
    }
    match field.type_name {
        "OrderFlags" => vec![(1 << OrderFlags::TABLE.len()) - 1],
        "Permissions" => {
            let known = (1 << Permissions::TABLE.len()) - 1;
            (0b1_0101_u32 & known).to_le_bytes().to_vec()
        }
        name if name.starts_with("Pad") => vec![0; field.bytes],
        name if name.starts_with("Text") => {
            let text = format!(
                "{}-{seed:x}-ABCDEFGHIJKLMNOPQRSTUVW",
                field.name.to_uppercase()
            );
            // One byte of filling in every other text, so that both shapes occur.
            let length = field.bytes - (seed % 2) as usize;
            let mut bytes = text.as_bytes()[..length].to_vec();
            bytes.resize(field.bytes, 0);
            bytes
        }
        _ if field.bytes == 1 => vec![1 + (mixed(seed) % 254) as u8],
        _ => {
            let words = (0..4).flat_map(|word| mixed(seed << 4 | word).to_le_bytes());
            words.take(field.bytes).collect()
        }
    }
}

fn empty(field: &Field) -> Vec<u8> {
    if field.type_name == "Price" {
        return Price::NONE.0.to_le_bytes().to_vec();
    }
    vec![0; field.bytes]
}

fn unsigned(content: &[u8]) -> u64 {
    let mut wide = [0; 8];
    wide[..content.len()].copy_from_slice(content);
    u64::from_le_bytes(wide)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a field's bytes mean: its kind, its number or bytes, its name where it is a code, and
/// whether it is "none".
pub(crate) fn meaning_of(field: &Field, content: &[u8]) -> Value {
    if let Some(code) = enumeration(field) {
        let number = unsigned(content);
        let row = code.rows.iter().find(|row| row.0 == number);
        return json!({"kind": "enum", "raw": number, "name": row.map(|row| row.1)});
    }
    match field.type_name {
        "OrderFlags" => set(content, OrderFlags::TABLE),
        "Permissions" => set(content, Permissions::TABLE),
        "Price" | "Money" => {
            let mantissa = unsigned(content).cast_signed();
            let none = field.type_name == "Price" && mantissa == Price::NONE.0;
            json!({"kind": "decimal", "raw": mantissa, "none": none})
        }
        "Uint8" | "Uint16" | "Uint32" | "Uint64" | "Quantity" | "Hours" | "Nanos" | "Millis"
        | "PartsPerMillion" => {
            json!({"kind": "number", "raw": unsigned(content), "none": false})
        }
        "Text8" | "Text16" | "Text32" => {
            let text: String = content.iter().map(|byte| char::from(*byte)).collect();
            let text = text.trim_end_matches('\0');
            json!({"kind": "text", "raw": hex(content), "text": text})
        }
        "Digest" | "Evidence" | "AccessKey" | "Ipv4" | "Ipv6" => {
            json!({"kind": "bytes", "raw": hex(content)})
        }
        name if name.starts_with("Pad") => json!({"kind": "bytes", "raw": hex(content)}),
        _ => {
            let id = unsigned(content);
            json!({"kind": "number", "raw": id, "none": id == 0})
        }
    }
}

fn set(content: &[u8], table: &[(u8, &str, &str)]) -> Value {
    let raw = unsigned(content);
    let chosen = table.iter().filter(|(bit, ..)| raw >> bit & 1 == 1);
    let names: Vec<String> = chosen.map(|(_, name, _)| published_name(name)).collect();
    json!({"kind": "set", "raw": raw, "names": names})
}

#[test]
fn full_samples_leave_no_field_at_zero_or_alike() {
    for sample in samples().iter().filter(|s| !s.name.ends_with(".none")) {
        let block = &sample.bytes[8..];
        let contents = sample.message.fields.iter().map(|field| {
            let content = &block[field.offset..field.offset + field.bytes];
            (field, content)
        });
        let wide: Vec<_> = contents
            .filter(|(field, _)| !field.name.starts_with("pad_"))
            .inspect(|(field, content)| {
                assert!(
                    content.iter().any(|b| *b != 0),
                    "{}.{}",
                    sample.name,
                    field.name
                );
            })
            .filter(|(_, content)| content.len() > 2)
            .collect();
        for (place, (field, content)) in wide.iter().enumerate() {
            let alike = wide[..place].iter().any(|(_, other)| other == content);
            assert!(!alike, "{}.{}", sample.name, field.name);
        }
    }
}

//! Compares the schema with the Rust tables, in both directions.
//!
//! Called by the tests of `schema`, with the published file and with mutated copies of it. The rules
//! that need no Rust table are in `lint`.
//!
//! Always holds: every disagreement is one line that names its place.

use std::collections::BTreeMap;

use exahour_wire::catalogue::{ENUMERATIONS, EnumerationTable, MESSAGES};
use exahour_wire::codes::{OrderFlags, Permissions};
use exahour_wire::ids::{
    AccountId, Behaviour, ClientOrderId, CommandSequence, EventSequence, ExchangeId, FeedSequence,
    InstrumentId, MessageSequence, ObligationId, OrderId, ParticipantId, SessionId, SessionVersion,
    TradeId, TransferId,
};
use exahour_wire::message::{
    AccessKey, Declaration, Digest, Evidence, FieldType, Ipv4, Ipv6, SCHEMA_ID, SCHEMA_VERSION,
    Text8, Text16, Text32,
};
use exahour_wire::units::{Hours, Millis, Money, Nanos, PartsPerMillion, Price, Quantity};

use crate::layout::{self, Placed, Type};
use crate::lint;
use crate::xml::Element;

/// Names that are reserved words in languages that clients are written in (generators refuse them),
/// and the names that the schema publishes instead.
const RENAMED: [(&str, &str); 4] = [
    ("Operator", "ExchangeOperator"),
    ("class", "resourceClass"),
    ("event", "eventSequence"),
    ("template", "refTemplate"),
];

/// The name in the schema of a field, or of a choice of a set, of this name in Rust.
pub(crate) fn published_name(name: &str) -> String {
    if let Some((_, published)) = RENAMED.iter().find(|(rust, _)| *rust == name) {
        return (*published).to_owned();
    }
    let mut words = name.split('_');
    let mut published = words.next().unwrap_or_default().to_owned();
    for word in words {
        published.push_str(&word[..1].to_uppercase());
        published.push_str(&word[1..]);
    }
    published
}

/// A description in Rust as the schema writes it: without the marks of rustdoc.
pub(crate) fn published_text(description: &str) -> String {
    description.trim().replace(['`', '[', ']'], "")
}

/// Everything in which the schema and the Rust tables differ, and every rule it breaks.
pub(crate) fn differences(schema: &Element) -> Vec<String> {
    let mut problems = Vec::new();
    root(schema, &mut problems);
    let types = layout::types(schema, &mut problems);
    header(schema, &mut problems);
    representations(&types, &mut problems);
    codes(schema, &types, &mut problems);
    sets(schema, &types, &mut problems);
    messages(schema, &types, &mut problems);
    lint::problems(schema, &types, &mut problems);
    problems
}

/// Adds a line where the schema says something else than Rust.
pub(crate) fn expect(problems: &mut Vec<String>, at: &str, found: &str, wanted: &str) {
    if found != wanted {
        problems.push(format!("{at}: {found:?} in the schema, {wanted:?} in Rust"));
    }
}

fn root(schema: &Element, problems: &mut Vec<String>) {
    for (attribute, wanted) in [
        ("package", "exahour".to_owned()),
        ("id", SCHEMA_ID.to_string()),
        ("version", SCHEMA_VERSION.to_string()),
        ("byteOrder", "littleEndian".to_owned()),
        ("headerType", "messageHeader".to_owned()),
        ("sbe", "http://fixprotocol.io/2016/sbe".to_owned()),
    ] {
        let found = schema
            .attributes
            .iter()
            .find(|(key, _)| key.trim_start_matches("xmlns:") == attribute);
        let found = found.map_or("", |(_, value)| value);
        expect(
            problems,
            &format!("messageSchema@{attribute}"),
            found,
            &wanted,
        );
    }
    if schema.value("semanticVersion").is_empty() {
        problems.push("messageSchema@semanticVersion: missing".to_owned());
    }
    for child in &schema.children {
        if !["types", "message"].contains(&child.name.as_str()) {
            problems.push(format!("messageSchema: <{}> is not SBE", child.name));
        }
    }
}

fn header(schema: &Element, problems: &mut Vec<String>) {
    let composites = schema.all("types").flat_map(|types| types.all("composite"));
    let header = composites
        .filter(|composite| composite.value("name") == "messageHeader")
        .flat_map(|composite| &composite.children)
        .map(|part| (part.value("name"), part.value("primitiveType")));
    let wanted = [
        ("blockLength", "uint16"),
        ("templateId", "uint16"),
        ("schemaId", "uint16"),
        ("version", "uint16"),
    ];
    if !header.eq(wanted) {
        problems.push(format!("messageHeader: is not {wanted:?}"));
    }
}

/// What carries each type in Rust: name, primitive, how many in a row, number for "none".
fn carriers() -> Vec<(String, &'static str, usize, Option<String>)> {
    let mut carriers = Vec::new();
    fn primitive(rust: &'static str) -> &'static str {
        match rust {
            "u8" => "uint8",
            "u16" => "uint16",
            "u32" => "uint32",
            "u64" => "uint64",
            "i64" => "int64",
            other => panic!("no SBE primitive for {other}"),
        }
    }
    // The constructor has this type only if the carrier is as written.
    macro_rules! scalars {
        ($null:expr; $($name:ident($repr:ty)),*) => {$(
            let _: fn($repr) -> $name = $name;
            let name = <$name as FieldType>::NAME.to_owned();
            carriers.push((name, primitive(stringify!($repr)), 1, $null));
        )*};
    }
    macro_rules! arrays {
        ($($name:ident[$bytes:literal]),*) => {$(
            let _: fn([u8; $bytes]) -> $name = $name;
            carriers.push((<$name as FieldType>::NAME.to_owned(), "char", $bytes, None));
        )*};
    }
    scalars!(None; Money(i64), Quantity(u64), Hours(u32), Nanos(u64), Millis(u32),
        PartsPerMillion(u32));
    scalars!(Some(Price::NONE.0.to_string()); Price(i64));
    scalars!(Some("0".to_owned()); SessionId(u32), ParticipantId(u32), AccountId(u32),
        InstrumentId(u32), OrderId(u64), ClientOrderId(u64), TradeId(u64), TransferId(u64),
        ObligationId(u64), MessageSequence(u32), SessionVersion(u64), CommandSequence(u64),
        EventSequence(u64), FeedSequence(u64), ExchangeId(u64), Behaviour(u32));
    arrays!(
        Digest[32],
        Evidence[24],
        AccessKey[32],
        Ipv4[4],
        Ipv6[16],
        Text8[8],
        Text16[16],
        Text32[32]
    );
    for bare in ["u8", "u16", "u32", "u64"] {
        carriers.push((
            primitive(bare).replacen('u', "U", 1),
            primitive(bare),
            1,
            None,
        ));
    }
    carriers
}

fn representations(types: &BTreeMap<String, Type>, problems: &mut Vec<String>) {
    let carriers = carriers();
    for (name, primitive, length, null) in &carriers {
        let Some(found) = types.get(name) else {
            problems.push(format!("type {name}: missing in the schema"));
            continue;
        };
        let at = format!("type {name}");
        expect(problems, &at, &found.primitive, primitive);
        expect(
            problems,
            &at,
            &found.length.to_string(),
            &length.to_string(),
        );
        expect(
            problems,
            &at,
            &format!("{:?}", found.null),
            &format!("{null:?}"),
        );
        let decimal = ["Price", "Money"].contains(&name.as_str());
        expect(
            problems,
            &at,
            &found.kind,
            if decimal { "composite" } else { "type" },
        );
    }
    for (name, found) in types {
        let listed = carriers.iter().any(|(known, ..)| known == name);
        let filling = name
            .strip_prefix("Pad")
            .and_then(|bytes| bytes.parse().ok());
        if let Some(bytes) = filling {
            let chars = (found.primitive.as_str(), found.length) == ("char", bytes);
            if !chars || found.null.is_some() {
                problems.push(format!("type {name}: is not {bytes} char"));
            }
        } else if !listed && !["messageHeader", "OptionalCode"].contains(&name.as_str()) {
            let coded = ["enum", "set"].contains(&found.kind.as_str());
            if !coded {
                problems.push(format!("type {name}: unknown in Rust"));
            }
        }
    }
}

/// The types of one kind: `type`, `composite`, `enum` or `set`.
pub(crate) fn named<'a>(schema: &'a Element, kind: &'a str) -> impl Iterator<Item = &'a Element> {
    schema.all("types").flat_map(move |types| types.all(kind))
}

/// A value of an enumeration as a `validValue` says it.
pub(crate) fn published_value(code: &EnumerationTable, number: u64) -> String {
    if code.primitive == "char" {
        char::from(u8::try_from(number).unwrap()).to_string()
    } else {
        number.to_string()
    }
}

fn codes(schema: &Element, types: &BTreeMap<String, Type>, problems: &mut Vec<String>) {
    let published: Vec<&str> = named(schema, "enum").map(|e| e.value("name")).collect();
    let known: Vec<&str> = ENUMERATIONS.iter().map(|code| code.name).collect();
    expect(
        problems,
        "enumerations",
        &published.join(" "),
        &known.join(" "),
    );
    for code in ENUMERATIONS {
        let name = code.name;
        let Some(element) = named(schema, "enum").find(|e| e.value("name") == name) else {
            continue;
        };
        let found = types.get(name).map_or("", |kind| &kind.primitive);
        expect(problems, name, found, code.primitive);
        let null = types.get(name).and_then(|kind| kind.null.as_deref());
        let zero_is_free = code.rows.iter().all(|row| row.0 != 0);
        if null.is_some_and(|null| null != "0" || !zero_is_free) {
            problems.push(format!("{name}: {null:?} cannot mean none"));
        }
        let rows = code
            .rows
            .iter()
            .map(|(number, name, text)| (published_value(code, *number), *name, *text));
        rows_agree(name, element, "validValue", rows, problems);
    }
}

fn sets(schema: &Element, types: &BTreeMap<String, Type>, problems: &mut Vec<String>) {
    // The constructors have these types only if the carriers are as written.
    let _: fn(u8) -> OrderFlags = OrderFlags;
    let _: fn(u32) -> Permissions = Permissions;
    let known = [
        ("OrderFlags", "uint8", OrderFlags::TABLE),
        ("Permissions", "uint32", Permissions::TABLE),
    ];
    let published: Vec<&str> = named(schema, "set").map(|set| set.value("name")).collect();
    expect(
        problems,
        "sets",
        &published.join(" "),
        "OrderFlags Permissions",
    );
    for (name, primitive, table) in known {
        let Some(element) = named(schema, "set").find(|set| set.value("name") == name) else {
            continue;
        };
        let found = types.get(name).map_or("", |kind| &kind.primitive);
        expect(problems, name, found, primitive);
        let renamed: Vec<_> = table
            .iter()
            .map(|(bit, name, text)| (bit.to_string(), published_name(name), *text))
            .collect();
        let rows = renamed
            .iter()
            .map(|(bit, name, text)| (bit.clone(), name.as_str(), *text));
        rows_agree(name, element, "choice", rows, problems);
    }
}

fn rows_agree<'a>(
    name: &str,
    element: &Element,
    kind: &str,
    rows: impl Iterator<Item = (String, &'a str, &'a str)>,
    problems: &mut Vec<String>,
) {
    let published: Vec<String> = element
        .children
        .iter()
        .map(|row| {
            let (name, text) = (row.value("name"), row.value("description"));
            format!("<{}> {name} = {}: {text}", row.name, row.text)
        })
        .collect();
    let known: Vec<String> = rows
        .map(|(number, name, text)| format!("<{kind}> {name} = {number}: {}", published_text(text)))
        .collect();
    for row in published.iter().filter(|row| !known.contains(row)) {
        problems.push(format!("{name}: {row} is not in Rust"));
    }
    for row in known.iter().filter(|row| !published.contains(row)) {
        problems.push(format!("{name}: {row} is not in the schema"));
    }
    if published.len() != known.len() {
        problems.push(format!("{name}: a row stands twice"));
    }
}

fn messages(schema: &Element, types: &BTreeMap<String, Type>, problems: &mut Vec<String>) {
    let mut published: Vec<&str> = schema.all("message").map(|m| m.value("name")).collect();
    let mut known: Vec<&str> = MESSAGES.iter().map(|message| message.name).collect();
    published.sort_unstable();
    known.sort_unstable();
    expect(problems, "messages", &published.join(" "), &known.join(" "));
    for element in schema.all("message") {
        let placed = layout::place(element, types, problems);
        let name = element.value("name");
        let Some(message) = MESSAGES.iter().find(|message| message.name == name) else {
            continue;
        };
        expect(
            problems,
            name,
            element.value("id"),
            &message.template_id.to_string(),
        );
        let block = message.block_length.to_string();
        expect(problems, name, element.value("blockLength"), &block);
        expect(problems, name, element.value("sinceVersion"), "0");
        let text = published_text(message.description);
        expect(problems, name, element.value("description"), &text);
        fields(message, &placed, problems);
    }
}

fn fields(message: &Declaration, placed: &[Placed<'_>], problems: &mut Vec<String>) {
    if placed.len() != message.fields.len() {
        let (found, wanted) = (placed.len(), message.fields.len());
        let name = message.name;
        problems.push(format!(
            "{name}: {found} fields in the schema, {wanted} in Rust"
        ));
    }
    for (found, field) in placed.iter().zip(message.fields) {
        let at = format!("{}.{}", message.name, field.name);
        let element = found.element;
        expect(
            problems,
            &at,
            element.value("name"),
            &published_name(field.name),
        );
        expect(problems, &at, element.value("type"), field.type_name);
        expect(
            problems,
            &at,
            element.value("offset"),
            &field.offset.to_string(),
        );
        expect(
            problems,
            &at,
            &found.kind.bytes.to_string(),
            &field.bytes.to_string(),
        );
        let text = published_text(field.description);
        expect(problems, &at, element.value("description"), &text);
        let alignment = layout::primitive_bytes(&found.kind.primitive).unwrap_or(1);
        if found.offset % alignment != 0 {
            problems.push(format!("{at}: not on a multiple of {alignment}"));
        }
        if element.value("presence") == "optional" && found.kind.null.is_none() {
            problems.push(format!(
                "{at}: optional, but its type has no number for none"
            ));
        }
    }
}

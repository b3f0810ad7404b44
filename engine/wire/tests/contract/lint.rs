//! The rules of the schema that need no Rust table to judge.
//!
//! Called by `agreement`. They are what makes different decoders read the same.

use std::collections::{BTreeMap, BTreeSet};

use exahour_wire::units::MICROS_PER_DOLLAR;

use crate::agreement::{expect, named};
use crate::layout::Type;
use crate::xml::Element;

/// Field ids from here on are not FIX tags but our own.
const OWN_IDS_FROM: usize = 20_000;

/// Adds a line for every rule that the schema breaks.
pub(crate) fn problems(
    schema: &Element,
    types: &BTreeMap<String, Type>,
    problems: &mut Vec<String>,
) {
    let mut own_ids = BTreeMap::new();
    for message in schema.all("message") {
        field_ids(message, &mut own_ids, problems);
    }
    descriptions(schema, problems);
    presences(schema, problems);
    uses(schema, types, problems);
    decimals(schema, problems);
    texts(schema, problems);
}

fn field_ids<'a>(
    message: &'a Element,
    own: &mut BTreeMap<usize, &'a str>,
    problems: &mut Vec<String>,
) {
    let mut seen = BTreeSet::new();
    for field in &message.children {
        let at = format!("{}.{}", message.value("name"), field.value("name"));
        let Some(id) = field.number("id") else {
            problems.push(format!("{at}: id {:?} is no number", field.value("id")));
            continue;
        };
        if !seen.insert(id) {
            problems.push(format!("{at}: id {id} stands twice in the message"));
        }
        if id >= OWN_IDS_FROM
            && *own.entry(id).or_insert(field.value("name")) != field.value("name")
        {
            problems.push(format!("{at}: id {id} is {:?} elsewhere", own[&id]));
        }
    }
}

fn descriptions(element: &Element, problems: &mut Vec<String>) {
    let nameless = ["messageSchema", "types"].contains(&element.name.as_str());
    let described = element.name == "types" || !element.value("description").is_empty();
    let named = nameless || !element.value("name").is_empty();
    if !described || !named {
        let name = element.value("name");
        problems.push(format!(
            "<{} {name:?}>: no name or description",
            element.name
        ));
    }
    for child in &element.children {
        descriptions(child, problems);
    }
}

fn presences(element: &Element, problems: &mut Vec<String>) {
    let presence = element.value("presence");
    let lawful = match (element.name.as_str(), presence) {
        (_, "") => element.value("nullValue").is_empty(),
        ("type", "optional") => !element.value("nullValue").is_empty(),
        ("type", "constant") => !element.text.is_empty(),
        ("field", "optional") => true,
        _ => false,
    };
    if !lawful {
        let (kind, name) = (&element.name, element.value("name"));
        problems.push(format!(
            "<{kind} {name:?}>: presence {presence:?} does not fit its values"
        ));
    }
    for child in &element.children {
        presences(child, problems);
    }
}

fn uses(schema: &Element, types: &BTreeMap<String, Type>, problems: &mut Vec<String>) {
    let fields = schema.all("message").flat_map(|message| &message.children);
    let mut used: BTreeSet<&str> = fields.map(|field| field.value("type")).collect();
    used.extend(named(schema, "enum").map(|code| code.value("encodingType")));
    used.insert(schema.value("headerType"));
    for name in types.keys().filter(|name| !used.contains(name.as_str())) {
        problems.push(format!("type {name}: no field has it"));
    }
}

fn decimals(schema: &Element, problems: &mut Vec<String>) {
    for decimal in named(schema, "composite").filter(|c| c.value("name") != "messageHeader") {
        let at = decimal.value("name");
        let parts: Vec<String> = decimal
            .children
            .iter()
            .map(|part| {
                let (name, kind) = (part.value("name"), part.value("primitiveType"));
                let constant = part.value("presence") == "constant";
                format!(
                    "{name}:{kind}:{}{}",
                    if constant { "=" } else { "" },
                    part.text
                )
            })
            .collect();
        assert_eq!(MICROS_PER_DOLLAR, 1_000_000);
        expect(
            problems,
            at,
            &parts.join(" "),
            "mantissa:int64: exponent:int8:=-6",
        );
    }
}

fn texts(schema: &Element, problems: &mut Vec<String>) {
    for text in named(schema, "type") {
        let (name, encoding) = (text.value("name"), text.value("characterEncoding"));
        let wanted = if name.starts_with("Text") {
            "ASCII"
        } else {
            ""
        };
        expect(problems, &format!("type {name}"), encoding, wanted);
    }
}

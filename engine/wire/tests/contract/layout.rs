//! Widths and places by the rules of SBE, from the XML alone.
//!
//! Called by `agreement`. Knows nothing of the structs.

use std::collections::BTreeMap;

use crate::xml::Element;

/// What a named type of the schema is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Type {
    /// `type`, `composite`, `enum` or `set`.
    pub(crate) kind: String,
    /// The primitive that carries it; for a composite, that of its first part.
    pub(crate) primitive: String,
    /// How many primitives in a row.
    pub(crate) length: usize,
    /// Bytes on the wire.
    pub(crate) bytes: usize,
    /// The number that means "none", where one is named.
    pub(crate) null: Option<String>,
}

/// Bytes of a primitive type, or `None` where it is none.
pub(crate) fn primitive_bytes(name: &str) -> Option<usize> {
    match name {
        "char" | "int8" | "uint8" => Some(1),
        "int16" | "uint16" => Some(2),
        "int32" | "uint32" | "float" => Some(4),
        "int64" | "uint64" | "double" => Some(8),
        _ => None,
    }
}

/// Reads every named type; what cannot be read is told in `problems`.
pub(crate) fn types(schema: &Element, problems: &mut Vec<String>) -> BTreeMap<String, Type> {
    let mut known = BTreeMap::new();
    for element in schema.all("types").flat_map(|types| &types.children) {
        let name = element.value("name").to_owned();
        match read_type(element, &known) {
            None => problems.push(format!("type {name}: cannot be read")),
            Some(read) => {
                if known.insert(name.clone(), read).is_some() {
                    problems.push(format!("type {name}: named twice"));
                }
            }
        }
    }
    known
}

fn read_type(element: &Element, known: &BTreeMap<String, Type>) -> Option<Type> {
    match element.name.as_str() {
        "type" => simple(element),
        "composite" => composite(element),
        "enum" | "set" => {
            let encoding = element.value("encodingType");
            let carrier = match primitive_bytes(encoding) {
                Some(bytes) => Type {
                    kind: String::new(),
                    primitive: encoding.to_owned(),
                    length: 1,
                    bytes,
                    null: None,
                },
                None => known.get(encoding)?.clone(),
            };
            Some(Type {
                kind: element.name.clone(),
                ..carrier
            })
        }
        _ => None,
    }
}

fn simple(element: &Element) -> Option<Type> {
    let primitive = element.value("primitiveType");
    let length = match element.value("length") {
        "" => 1,
        given => given.parse().ok()?,
    };
    let null = element.value("nullValue");
    let constant = element.value("presence") == "constant";
    let bytes = primitive_bytes(primitive)? * length;
    Some(Type {
        kind: element.name.clone(),
        primitive: primitive.to_owned(),
        length,
        bytes: if constant { 0 } else { bytes },
        null: (!null.is_empty()).then(|| null.to_owned()),
    })
}

fn composite(element: &Element) -> Option<Type> {
    let parts: Option<Vec<Type>> = element.children.iter().map(simple).collect();
    let parts = parts?;
    let first = parts.first()?;
    Some(Type {
        kind: element.name.clone(),
        bytes: parts.iter().map(|part| part.bytes).sum(),
        ..first.clone()
    })
}

/// One field of a message as the XML places it.
#[derive(Clone, Debug)]
pub(crate) struct Placed<'a> {
    /// The element.
    pub(crate) element: &'a Element,
    /// Its type.
    pub(crate) kind: &'a Type,
    /// Bytes from the start of the block.
    pub(crate) offset: usize,
}

/// Places the fields of a message one after the other; a stated offset that differs from the end
/// of the field before is a gap or an overlap and is told in `problems`.
pub(crate) fn place<'a>(
    message: &'a Element,
    types: &'a BTreeMap<String, Type>,
    problems: &mut Vec<String>,
) -> Vec<Placed<'a>> {
    let mut placed = Vec::new();
    let mut end = 0;
    for field in &message.children {
        let at = format!("{}.{}", message.value("name"), field.value("name"));
        if field.name != "field" {
            problems.push(format!("{at}: <{}> has no fixed place", field.name));
            continue;
        }
        let Some(kind) = types.get(field.value("type")) else {
            problems.push(format!("{at}: type {:?} is not named", field.value("type")));
            continue;
        };
        if field.number("offset") != Some(end) {
            let stated = field.value("offset");
            problems.push(format!(
                "{at}: offset {stated:?}, the one before ends at {end}"
            ));
        }
        placed.push(Placed {
            element: field,
            kind,
            offset: end,
        });
        end += kind.bytes;
    }
    if message.number("blockLength") != Some(end) || end % 8 != 0 {
        let (name, stated) = (message.value("name"), message.value("blockLength"));
        problems.push(format!(
            "{name}: blockLength {stated:?}, the fields take {end}"
        ));
    }
    placed
}

//! The shape of every message as text tools see it: camel-case names, kinds of value, places.
//!
//! Called by the line form, the JSON form and the script language. Built once from the catalogue
//! of the wire crate.
//!
//! Always holds: fields are in wire order, padding is left out, and offsets count from the start
//! of the message, header included.

use std::collections::HashMap;
use std::sync::LazyLock;

use exahour_wire::catalogue::{ENUMERATIONS, MESSAGES};
use exahour_wire::codes::{OrderFlags, Permissions};
use exahour_wire::message::{Declaration, HEADER_BYTES, SCHEMA_ID, SCHEMA_VERSION, peek_header};

/// Number, name and description of each value of an enumeration.
pub type Names = &'static [(u64, &'static str, &'static str)];

/// Bit, name and description of each choice of a set.
pub type Bits = &'static [(u8, &'static str, &'static str)];

/// What kind of value a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number of the field's width: ids, counts, lots, hours, milliseconds.
    Unsigned,
    /// A price, in micro-dollars on the wire, as a decimal in text.
    Price,
    /// An amount of money, in micro-dollars on the wire, as a decimal in text.
    Money,
    /// A moment, in nanoseconds on the wire, as ISO 8601 in text.
    Time,
    /// A span in nanoseconds.
    Span,
    /// One of the values of an enumeration.
    Enumeration(Names),
    /// A set of bits.
    Set(Bits),
    /// An address: of IPv4, or of IPv6 with those of IPv4 mapped into it.
    Address,
    /// ASCII text filled up with zeros.
    Text,
    /// A digest or a key.
    Hex,
}

/// One field of a message.
#[derive(Clone, Debug)]
pub struct FieldForm {
    /// Its name as the schema writes it, in camel case.
    pub name: String,
    /// The kind of its value.
    pub kind: Kind,
    /// Bytes from the start of the message, header included.
    pub offset: usize,
    /// Bytes of the field.
    pub bytes: usize,
}

impl FieldForm {
    /// The bytes of this field within a message of its form.
    #[must_use]
    pub fn of<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        &message[self.offset..self.offset + self.bytes]
    }

    /// As [`FieldForm::of`], to be written.
    pub fn of_mut<'a>(&self, message: &'a mut [u8]) -> &'a mut [u8] {
        &mut message[self.offset..self.offset + self.bytes]
    }
}

/// One message.
#[derive(Clone, Debug)]
pub struct MessageForm {
    /// Its declaration.
    pub declaration: &'static Declaration,
    /// Its fields without padding.
    pub fields: Vec<FieldForm>,
}

impl MessageForm {
    /// Bytes of the message, header included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + usize::from(self.declaration.block_length)
    }

    /// The field with this name, in camel case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldForm> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The message with its header set and every field zero.
    #[must_use]
    pub fn blank(&self) -> Vec<u8> {
        let header = exahour_wire::message::Header {
            block_length: self.declaration.block_length,
            template_id: self.declaration.template_id,
            schema_id: SCHEMA_ID,
            version: SCHEMA_VERSION,
        };
        let mut message = vec![0; self.bytes()];
        message[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
        message
    }
}

struct Forms {
    messages: Vec<MessageForm>,
    by_template: HashMap<u16, usize>,
    by_name: HashMap<&'static str, usize>,
}

static FORMS: LazyLock<Forms> = LazyLock::new(|| {
    let messages: Vec<_> = MESSAGES.iter().map(message_form).collect();
    let places = || messages.iter().map(|form| form.declaration).zip(0..);
    Forms {
        by_template: places()
            .map(|(it, place)| (it.template_id, place))
            .collect(),
        by_name: places().map(|(it, place)| (it.name, place)).collect(),
        messages,
    }
});

/// Every message, in the order of the catalogue.
#[must_use]
pub fn forms() -> &'static [MessageForm] {
    &FORMS.messages
}

/// The form of the message at the start of `bytes`, or `None` where its template is unknown or its
/// bytes are too few.
#[must_use]
pub fn form_of(bytes: &[u8]) -> Option<&'static MessageForm> {
    let header = peek_header(bytes)?;
    let forms = &*FORMS;
    let form = &forms.messages[*forms.by_template.get(&header.template_id)?];
    let whole = header.schema_id == SCHEMA_ID
        && header.block_length >= form.declaration.block_length
        && bytes.len() >= form.bytes();
    whole.then_some(form)
}

/// The form of the message with this name.
#[must_use]
pub fn form_named(name: &str) -> Option<&'static MessageForm> {
    let forms = &*FORMS;
    forms.by_name.get(name).map(|place| &forms.messages[*place])
}

fn message_form(declaration: &'static Declaration) -> MessageForm {
    let fields = declaration.fields.iter();
    let fields = fields.filter(|field| !field.type_name.starts_with("Pad"));
    let fields = fields.map(|field| FieldForm {
        name: camel_case(field.name),
        kind: kind_of(field.type_name, field.description),
        offset: HEADER_BYTES + field.offset,
        bytes: field.bytes,
    });
    MessageForm {
        declaration,
        fields: fields.collect(),
    }
}

fn kind_of(type_name: &str, description: &str) -> Kind {
    let named = ENUMERATIONS.iter().find(|code| code.name == type_name);
    if let Some(code) = named {
        return Kind::Enumeration(code.rows);
    }
    match type_name {
        "Price" => Kind::Price,
        "Money" => Kind::Money,
        // The vocabulary marks spans by saying so in the description of the field.
        "Nanos" if description.contains("a span") => Kind::Span,
        "Nanos" => Kind::Time,
        "OrderFlags" => Kind::Set(OrderFlags::TABLE),
        "Permissions" => Kind::Set(Permissions::TABLE),
        "Ipv4" | "Ipv6" => Kind::Address,
        "Text8" | "Text16" | "Text32" => Kind::Text,
        "Digest" | "Evidence" | "AccessKey" => Kind::Hex,
        _ => Kind::Unsigned,
    }
}

fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    for (place, part) in name.split('_').enumerate() {
        let mut letters = part.chars();
        match letters.next() {
            Some(first) if place > 0 => camel.push(first.to_ascii_uppercase()),
            Some(first) => camel.push(first),
            None => {}
        }
        camel.push_str(letters.as_str());
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_whole_number_fits_the_widest() {
        for form in forms() {
            for field in &form.fields {
                let is_narrow = matches!(field.bytes, 1 | 2 | 4 | 8);
                let is_wide = matches!(field.kind, Kind::Text | Kind::Hex | Kind::Address);
                let name = &form.declaration.name;
                assert!(
                    is_narrow || is_wide,
                    "{name}.{}: {:?}",
                    field.name,
                    field.kind
                );
            }
        }
    }

    #[test]
    fn names_are_the_schemas_and_spans_are_known() {
        let form = form_named("ConfirmDelivery").unwrap();
        let names: Vec<_> = form
            .fields
            .iter()
            .map(|field| field.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "session",
                "sequence",
                "request",
                "obligation",
                "verified",
                "evidence"
            ]
        );
        assert!(matches!(form.field("verified").unwrap().kind, Kind::Span));
        let order = form_named("NewOrder").unwrap();
        assert!(matches!(order.field("expireAt").unwrap().kind, Kind::Time));
        assert!(order.field("pad1").is_none());
    }

    #[test]
    fn cut_or_foreign_bytes_have_no_form() {
        let order = form_named("NewOrder").unwrap().blank();
        assert!(form_of(&order).is_some());
        assert!(form_of(&order[..order.len() - 1]).is_none());
        assert!(form_of(&[]).is_none());
        let mut foreign = order;
        foreign[2] = 0xFF;
        foreign[3] = 0xFF;
        assert!(form_of(&foreign).is_none());
    }
}

//! A message as one JSON object: `message`, then its fields in wire order.
//!
//! Called by `script`, the small client, `journal dump` and exports, with --json.
//!
//! Always holds: prices and amounts are decimal strings; a value that is nothing is `null`. Whole numbers
//! are kept exact by the one rule for all JSON of ours.
//! Does not: read back; the line form does.

use exahour_settlement::json;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::form::{FieldForm, Kind, form_of};
use super::line::TextError;
use super::value::{is_nothing, unsigned, write_value};

/// A message to be serialised.
#[derive(Clone, Copy, Debug)]
pub struct JsonForm<'a> {
    message: &'a [u8],
    form: &'static super::form::MessageForm,
}

impl<'a> JsonForm<'a> {
    /// The JSON form of the message at the start of `message`.
    ///
    /// # Errors
    /// [`TextError::NotAMessage`].
    pub fn new(message: &'a [u8]) -> Result<Self, TextError> {
        let form = form_of(message).ok_or(TextError::NotAMessage)?;
        Ok(Self { message, form })
    }
}

impl Serialize for JsonForm<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.form.fields.len() + 1))?;
        object.serialize_entry("message", self.form.declaration.name)?;
        for field in &self.form.fields {
            object.serialize_entry(
                &field.name,
                &JsonValue {
                    field,
                    message: self.message,
                },
            )?;
        }
        object.end()
    }
}

struct JsonValue<'a> {
    field: &'a FieldForm,
    message: &'a [u8],
}

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.field.of(self.message);
        match self.field.kind {
            Kind::Unsigned | Kind::Span => serializer.serialize_u64(unsigned(bytes)),
            Kind::Text => {
                let filled = bytes
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(0, |last| last + 1);
                let text: String = bytes[..filled]
                    .iter()
                    .map(|byte| char::from(*byte))
                    .collect();
                serializer.serialize_str(&text)
            }
            Kind::Set(bits) => {
                let set = unsigned(bytes);
                let named = bits.iter().filter(|(bit, _, _)| set >> bit & 1 == 1);
                let mut names: Vec<_> = named.map(|(_, name, _)| (*name).to_owned()).collect();
                let unnamed = bits
                    .iter()
                    .fold(set, |rest, (bit, _, _)| rest & !(1 << bit));
                if unnamed != 0 {
                    names.push(format!("{unnamed:#x}"));
                }
                serializer.collect_seq(names)
            }
            Kind::Enumeration(names) => {
                let number = unsigned(bytes);
                match names.iter().find(|(it, _, _)| *it == number) {
                    Some((_, name, _)) => serializer.serialize_str(name),
                    None if number == 0 => serializer.serialize_none(),
                    None => serializer.serialize_u64(number),
                }
            }
            Kind::Price | Kind::Time | Kind::Hex if is_nothing(self.field, self.message) => {
                serializer.serialize_none()
            }
            Kind::Price | Kind::Money | Kind::Time | Kind::Address | Kind::Hex => {
                let mut text = String::new();
                write_value(self.field, self.message, &mut text);
                serializer.serialize_str(&text)
            }
        }
    }
}

/// A message as one JSON object, without the end of the line.
///
/// # Errors
/// [`TextError::NotAMessage`].
pub fn json_of(message: &[u8]) -> Result<Vec<u8>, TextError> {
    // Every key is a text, so nothing else can be wrong.
    json::to_vec(&JsonForm::new(message)?).map_err(|_| TextError::NotAMessage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{forms, parse_line};

    fn json(line: &str) -> String {
        String::from_utf8(json_of(&parse_line(line).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn numbers_stay_exact() {
        let line = "NewOrder session=1 clientOrderId=9007199254740993 quantity=9007199254740992 \
                    price=-0.000001 side=Buy orderType=9 flags=PostOnly|0x82";
        assert_eq!(
            json(line),
            r#"{"message":"NewOrder","session":1,"sequence":0,"clientOrderId":"9007199254740993","#
                .to_owned()
                + r#""price":"-0.000001","quantity":9007199254740992,"expireAt":null,"account":0,"#
                + r#""instrument":0,"side":"Buy","orderType":9,"timeInForce":null,"#
                + r#""selfTradePrevention":"None","flags":["PostOnly","0x82"]}"#
        );
        assert!(json("NewOrder price=none").contains(r#""price":null"#));
    }

    #[test]
    fn every_message_is_one_object() {
        for form in forms() {
            let mut message = form.blank();
            for field in &form.fields {
                field.of_mut(&mut message).fill(0xFF);
            }
            let object = json_of(&message).unwrap();
            let object: serde_json::Value = serde_json::from_slice(&object).unwrap();
            assert_eq!(object["message"], form.declaration.name);
            assert_eq!(object.as_object().unwrap().len(), form.fields.len() + 1);
        }
    }
}

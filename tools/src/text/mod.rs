//! The text forms of every message: one readable line, and one JSON object.
//!
//! Called by `script`, and by whatever shows messages to people or exports them. Driven by the
//! declarations of the wire crate alone, so a new message needs no code here.
//!
//! Always holds: what the line form writes, it reads back to the same bytes.
//! Does not: know what a message means, or where it came from.

mod form;
mod json;
mod line;
mod parts;
mod time;
mod value;

pub use form::{Bits, FieldForm, Kind, MessageForm, Names, form_named, form_of, forms};
pub use json::{JsonForm, json_of};
pub use line::{Misfit, TextError, Verbosity, is_quiet_by_default, parse_line, write_line};
pub(crate) use line::{field_names, parse_fields, words};
pub use parts::{parse_parts, parse_parts_with_unit, percent};
pub(crate) use time::is_large_span;
pub use time::{parse_span, parse_time, write_time};
pub use value::{ValueError, is_nothing, set_value, write_value};
pub(crate) use value::{not_decimal, parse_set, same_name};

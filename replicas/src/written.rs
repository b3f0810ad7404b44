//! A configuration as it is written: its name, its text, and the line that each key stands on.
//!
//! Used by `config` while it reads a file, and by `node` for what is found wrong only at a start.
//!
//! Always holds: lines count from 1; a key that the text does not set has the line of the nearest
//! table around it, or none.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A configuration's name and text.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    name: String,
    text: String,
}

impl Written {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The folder that files named in the text are looked for in.
    pub(crate) fn folder(&self) -> &Path {
        Path::new(&self.name).parent().unwrap_or(Path::new(""))
    }

    /// `NAME:LINE` of a key such as `thread.0.idle`, where parts of an array count from 0; only the name
    /// where the text sets nothing of the kind.
    pub(crate) fn place_of(&self, key: &str) -> String {
        match self.span_of(key) {
            Some(span) => self.place_at(&span),
            None => self.name.clone(),
        }
    }

    /// Whether the text sets this very key.
    pub(crate) fn sets(&self, key: &str) -> bool {
        DeTable::parse(&self.text).is_ok_and(|table| walk(table.get_ref(), key).1)
    }

    /// `NAME:LINE` of a place in the text.
    pub(crate) fn place_at(&self, span: &Range<usize>) -> String {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = 1 + before.matches('\n').count();
        format!("{}:{line}", self.name)
    }

    fn span_of(&self, key: &str) -> Option<Range<usize>> {
        let table = DeTable::parse(&self.text).ok()?;
        walk(table.get_ref(), key).0
    }
}

/// Goes along the parts of a key as far as they lead: where the last one found stands, and whether that
/// is the whole key.
fn walk(table: &DeTable<'_>, key: &str) -> (Option<Range<usize>>, bool) {
    let mut parts = key.split('.');
    let Some((name, mut value)) = parts.next().and_then(|part| entry(table, part)) else {
        return (None, false);
    };
    let mut found = name;
    for part in parts {
        let next = match value.get_ref() {
            DeValue::Table(table) => entry(table, part),
            DeValue::Array(array) => {
                let place = part.parse::<usize>().ok();
                let item = place.and_then(|place| array.get(place));
                item.map(|item| (item.span(), item))
            }
            _ => None,
        };
        let Some((span, inner)) = next else {
            return (Some(found), false);
        };
        (found, value) = (span, inner);
    }
    (Some(found), true)
}

fn entry<'a, 'i>(
    table: &'a DeTable<'i>,
    name: &str,
) -> Option<(Range<usize>, &'a Spanned<DeValue<'i>>)> {
    let mut entries = table.iter();
    let found = entries.find(|(key, _)| key.get_ref() == name);
    found.map(|(key, value)| (key.span(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_line_that_sets_it() {
        let text = "data = \"d\"\n[listen]\norders = \"x\"\n\n[capacity]\norders = 1\n\n[[thread]]\n\
                    name = \"a\"\n[[thread]]\nname = \"b\"\nagents = [\n  \"x\",\n  \"y\",\n]\n";
        let written = Written::new("it.toml", text);
        for (key, place) in [
            ("data", "it.toml:1"),
            ("listen.orders", "it.toml:3"),
            ("capacity.orders", "it.toml:6"),
            ("capacity.positions", "it.toml:5"),
            ("thread.0.name", "it.toml:9"),
            ("thread.1", "it.toml:10"),
            ("thread.1.name", "it.toml:11"),
            ("thread.1.agents.1", "it.toml:14"),
            ("thread.1.idle", "it.toml:10"),
            ("journal.segment_bytes", "it.toml"),
        ] {
            assert_eq!(written.place_of(key), place, "{key}");
        }
        assert!(written.sets("listen.orders") && !written.sets("listen.drop_copy"));
        assert!(!written.sets("flush"));
    }
}

//! A small tree of XML elements: what the schema test walks and mutates.
//!
//! Always holds: attributes keep their order and text is trimmed; comments are dropped.
//! Does not: know SBE, nor namespaces (`sbe:message` is read as `message`).

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

/// One element of the document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Element {
    /// Its name without prefix.
    pub(crate) name: String,
    /// Its attributes in order.
    pub(crate) attributes: Vec<(String, String)>,
    /// Its text, trimmed.
    pub(crate) text: String,
    /// The elements within.
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// The value of an attribute, or an empty text where it is absent.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// The value of an attribute as a number, or `None` where it is absent or no number.
    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.value(name).parse().ok()
    }

    /// The children of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The element at the end of a path of child indexes.
    pub(crate) fn at(&mut self, path: &[usize]) -> &mut Element {
        path.iter()
            .fold(self, |element, index| &mut element.children[*index])
    }

    /// The paths to all elements below this one.
    pub(crate) fn paths(&self) -> Vec<Vec<usize>> {
        let mut paths = Vec::new();
        for (index, child) in self.children.iter().enumerate() {
            paths.push(vec![index]);
            for below in child.paths() {
                paths.push([vec![index], below].concat());
            }
        }
        paths
    }
}

/// Reads the root element of a document.
///
/// # Panics
/// If the text is not well-formed XML.
pub(crate) fn parse(text: &str) -> Element {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event().expect("well-formed XML");
        match event {
            Event::Start(start) => open.push(element(&start)),
            Event::Empty(start) => open.last_mut().unwrap().children.push(element(&start)),
            Event::End(_) => {
                let done = open.pop().unwrap();
                open.last_mut().unwrap().children.push(done);
            }
            Event::Text(text) => {
                let text = text.xml_content(XmlVersion::Implicit1_0);
                open.last_mut().unwrap().text.push_str(text.trim());
            }
            Event::Comment(_) | Event::Decl(_) => {}
            Event::Eof => break,
            other => panic!("the schema has no business with {other:?}"),
        }
    }
    let root = open.pop().unwrap();
    assert!(open.is_empty() && root.children.len() == 1);
    root.children.into_iter().next().unwrap()
}

fn element(start: &BytesStart<'_>) -> Element {
    let attributes = start.attributes().map(|attribute| {
        let attribute = attribute.expect("a well-formed attribute");
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .expect("known entities");
        (attribute.key.as_ref().to_owned(), value.into_owned())
    });
    Element {
        name: start.local_name().as_ref().to_owned(),
        attributes: attributes.collect(),
        ..Element::default()
    }
}

//! The published schema agrees with the structs, and the comparison is able to fail.

use crate::agreement::differences;
use crate::xml::{Element, parse};

/// The published file.
pub(crate) const SCHEMA: &str = include_str!("../../schema/exahour.xml");

#[test]
fn the_schema_agrees_with_the_structs() {
    let problems = differences(&parse(SCHEMA));
    assert!(problems.is_empty(), "{:#?}", problems);
}

#[test]
fn the_schema_is_printable_ascii() {
    for (index, line) in SCHEMA.lines().enumerate() {
        let printable = line.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        assert!(printable, "line {}: {line}", index + 1);
        assert!(line.len() <= 120, "line {}: too long", index + 1);
    }
}

#[test]
fn the_comparison_names_the_place() {
    for (from, to, told) in [
        (
            r#"type="Price" offset="16""#,
            r#"type="Price" offset="24""#,
            "NewOrder.price: offset \"24\"",
        ),
        (
            r#"name="Quantity" primitiveType="uint64""#,
            r#"name="Quantity" primitiveType="uint32""#,
            "type Quantity",
        ),
        (
            r#"name="NewOrder" id="101" blockLength="56""#,
            r#"name="NewOrder" id="101" blockLength="64""#,
            "NewOrder: blockLength",
        ),
        (
            r#"description="The seller.">2<"#,
            r#"description="The seller.">3<"#,
            "Side: <validValue> Sell = 3",
        ),
        (
            r#"<enum name="OrderType" encodingType="char""#,
            r#"<enum name="OrderType" encodingType="uint8""#,
            "OrderType: \"uint8\" in the schema, \"char\" in Rust",
        ),
        (
            r#"type="OrderType" offset="49""#,
            r#"type="uint8" offset="49""#,
            "NewOrder.orderType: type \"uint8\" is not named",
        ),
        (
            r#"<field name="pad1""#,
            r#"<data name="pad1""#,
            "<data> has no fixed place",
        ),
    ] {
        assert!(SCHEMA.contains(from), "{from}");
        let problems = differences(&parse(&SCHEMA.replacen(from, to, 1)));
        let named = problems.iter().any(|problem| problem.contains(told));
        assert!(named, "{to} told as {problems:#?}");
    }
}

/// Attributes that no table in Rust can confirm; a wrong one is for readers to see.
fn unconfirmed(element: &Element, attribute: &str) -> bool {
    match attribute {
        "semanticType" | "semanticVersion" | "minValue" => true,
        "description" => !["validValue", "choice", "field", "message"].contains(&&*element.name),
        // Another free number is as good; a number in use is refused.
        "id" | "presence" => element.name == "field",
        _ => false,
    }
}

fn changed(value: &str) -> String {
    match value.parse::<i64>() {
        Ok(number) => (number ^ 1).to_string(),
        Err(_) => format!("{value}x"),
    }
}

#[test]
fn every_removed_element_is_caught() {
    let mut schema = parse(SCHEMA);
    for path in schema.paths() {
        let (index, above) = path.split_last().unwrap();
        let parent = schema.at(above);
        let removed = parent.children.remove(*index);
        assert!(!differences(&schema).is_empty(), "missed: no {removed:?}");
        schema.at(above).children.insert(*index, removed);
    }
}

#[test]
fn every_changed_attribute_and_number_is_caught() {
    let mut schema = parse(SCHEMA);
    let mut tried = 0;
    for path in schema.paths() {
        let before = schema.at(&path).clone();
        let mut mutants = Vec::new();
        for (index, (key, value)) in before.attributes.iter().enumerate() {
            if !unconfirmed(&before, key) {
                let mut mutant = before.clone();
                mutant.attributes[index].1 = changed(value);
                mutants.push(mutant);
            }
        }
        if !before.text.is_empty() {
            let text = changed(&before.text);
            mutants.push(Element {
                text,
                ..before.clone()
            });
        }
        for mutant in mutants {
            tried += 1;
            *schema.at(&path) = mutant.clone();
            assert!(!differences(&schema).is_empty(), "missed: {mutant:?}");
        }
        *schema.at(&path) = before;
    }
    assert!(tried > 3_000, "only {tried} mutations were tried");
}

"""Decodes every golden message with two third-party SBE decoders driven by the XML alone.

Called by the contract test as: decode.py SCHEMA.xml messages.hex messages.json
Prints one line for each disagreement and exits 1, or one line of totals and exits 0.

The two fail in different ways: sbe ignores stated offsets, so a gap shows; sbedecoder honours them,
so an overlap shows. Known blind spots: sbe reads a char array as text, so opaque bytes are taken
from its pointers; sbedecoder does not know a null of zero, so its raw value is compared.
"""

import json
import sys

import sbe
from sbedecoder import SBEMessage, SBESchema

HEADER = ["blockLength", "templateId", "schemaId", "version"]


def with_sbe(schema, data):
    """What sbe reads: header, names of fields in order, and meaning of each."""
    decoded = schema.decode(data)
    body = schema.wrap(data).body

    def meaning(name, kind):
        value = decoded.value[name]
        if kind == "decimal":
            return value["mantissa"]
        if kind == "bytes":
            return body.get_raw_pointer(name).unpack(memoryview(data)).hex()
        if kind == "enum" and value == b"\0":
            return None
        return value

    return decoded.message_name, decoded.header, list(decoded.value), meaning


def sbe_wants(field):
    """The same meaning as the Rust side wrote it, as sbe would say it."""
    kind = field["kind"]
    if kind in ("number", "decimal"):
        return None if field["none"] else field["raw"]
    return field[{"enum": "name", "set": "names", "text": "text", "bytes": "raw"}[kind]]


def with_sbedecoder(schema, data):
    """What sbedecoder reads, in the same shape."""
    message = SBEMessage.parse_message(schema, data)
    header = {field.original_name: field.value for field in message.fields[:4]}
    body = {field.original_name: field for field in message.fields[4:]}

    def meaning(name, kind):
        field = body[name]
        if kind == "decimal":
            return field.raw_value["mantissa"], field.raw_value["exponent"]
        if kind == "enum":
            raw = field.raw_value
            return ord(raw) if isinstance(raw, str) else raw, field.enumerant
        if kind == "set":
            return field.raw_value, [part for part in field.value.split(", ") if part]
        if kind == "text":
            return field.raw_value.hex(), field.value
        if kind == "bytes":
            return field.raw_value.hex()
        return field.raw_value

    return type(message).__name__, header, list(body), meaning


def sbedecoder_wants(field):
    kind, raw = field["kind"], field["raw"]
    if kind == "decimal":
        return (None if field["none"] else raw), -6
    if kind in ("enum", "set", "text"):
        return raw, field[{"enum": "name", "set": "names", "text": "text"}[kind]]
    return raw


def encoded(schema, message, fields):
    """The bytes that sbe makes of the meaning: what a client in another language would send."""
    values = {}
    for name, field in fields.items():
        kind = field["kind"]
        values[name] = sbe_wants(field)
        if kind == "decimal":
            values[name] = {"mantissa": field["raw"]}
        if kind == "bytes":
            values[name] = bytes.fromhex(field["raw"])
    return schema.encode(schema.messages[message], values)


def main(schema_path, hex_path, json_path):
    with open(schema_path, "rb") as file:
        first = sbe.Schema.parse(file)
    second = SBESchema()
    second.parse(schema_path)
    with open(hex_path, encoding="ascii") as file:
        lines = [line.split() for line in file if not line.startswith("#")]
    golden = {name: bytes.fromhex(digits) for name, digits in lines}
    with open(json_path, encoding="ascii") as file:
        samples = json.load(file)

    problems = []
    compared = 0
    for sample in samples:
        name, fields = sample["sample"], sample["fields"]
        data = golden[name]
        header = dict(zip(HEADER, (len(data) - 8, sample["template"], 600, 0)))
        for decoder, reading, wants in (
            ("sbe", with_sbe(first, data), sbe_wants),
            ("sbedecoder", with_sbedecoder(second, data), sbedecoder_wants),
        ):
            found_name, found_header, found_fields, meaning = reading
            if found_name != sample["message"] or found_header != header:
                problems.append(f"{decoder}: {name}: header {found_name} {found_header}")
            if sorted(found_fields) != sorted(fields):
                problems.append(f"{decoder}: {name}: fields {found_fields}")
                continue
            for field, wanted in fields.items():
                found = meaning(field, wanted["kind"])
                compared += 1
                if found != wants(wanted):
                    problems.append(f"{decoder}: {name}.{field}: {found!r}, not {wants(wanted)!r}")
        if not name.endswith(".none") and encoded(first, sample["template"], fields) != data:
            problems.append(f"sbe: {name}: encodes to other bytes")
    if len(golden) != len(samples):
        problems.append(f"{len(golden)} samples in hex, {len(samples)} in JSON")
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{len(samples)} messages, {compared} fields, two decoders agree")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

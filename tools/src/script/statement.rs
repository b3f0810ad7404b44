//! What a line of a script says.
//!
//! Called by the runner for every line. Commands come out as finished messages; everything that the
//! line left open is filled in from the script's memory.
//!
//! Always holds: a line is understood as a whole or refused with the place of the first word that
//! does not fit; nothing is sent from a line that is refused.
//! Does not: run anything.

use exahour_wire::message::{HEADER_BYTES, Message, peek_header};
use exahour_wire::units::Nanos;

use super::memory::Memory;
use super::phrase::{Phrase, Word, number_of};
use super::{operations, order_entry, phases, session_control};
use crate::text::{Misfit, field_names, form_named, form_of, set_value};

/// What a line says.
#[derive(Debug)]
pub(super) enum Statement<'a> {
    /// Nothing: blank, or a comment.
    Nothing,
    /// From here on it is this time.
    At(Nanos),
    /// Commands until `End` form one batch.
    BatchBegin,
    /// The batch is complete.
    BatchEnd,
    /// Another script runs first.
    Include(Word<'a>),
    /// Commands, one batch where none is open.
    Commands(Vec<Draft>),
}

/// A command, and how it is numbered.
#[derive(Debug)]
pub(super) struct Draft {
    /// Its bytes; the sequence is still open where `numbering` says so.
    pub(super) message: Vec<u8>,
    /// Who numbers it.
    pub(super) numbering: Numbering,
}

/// Who numbers a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    /// The runner, with the session's next number.
    Automatic,
    /// The line did, or the command has no number.
    Given,
}

/// The first template that no session sends.
const INTERNAL_TEMPLATE_MIN: u16 = 200;
const COMMAND_TEMPLATES: std::ops::Range<u16> = 100..300;
const SESSION: std::ops::Range<usize> = HEADER_BYTES..HEADER_BYTES + 4;
const SEQUENCE: std::ops::Range<usize> = HEADER_BYTES + 4..HEADER_BYTES + 8;

impl Draft {
    /// A command of a session or of the exchange.
    pub(super) fn new<M: Message>(message: &M) -> Self {
        Self {
            message: message.bytes().to_vec(),
            numbering: Numbering::Given,
        }
    }

    /// Whether a session can send it.
    pub(super) fn has_sender(&self) -> bool {
        has_sender(&self.message)
    }

    /// The session that sends it, or zero.
    pub(super) fn session(&self) -> u32 {
        session_of(&self.message)
    }

    /// Numbers it.
    pub(super) fn set_sequence(&mut self, sequence: u32) {
        self.message[SEQUENCE].copy_from_slice(&sequence.to_le_bytes());
    }

    fn set_session(&mut self, session: u32) {
        self.message[SESSION].copy_from_slice(&session.to_le_bytes());
    }
}

/// Whether a session can send this command.
pub(super) fn has_sender(command: &[u8]) -> bool {
    peek_header(command).is_some_and(|header| header.template_id < INTERNAL_TEMPLATE_MIN)
}

/// The session that sends this command, or zero.
pub(super) fn session_of(command: &[u8]) -> u32 {
    if has_sender(command) {
        word_at(command, SESSION)
    } else {
        0
    }
}

/// The number of this command, or zero.
pub(super) fn sequence_of(command: &[u8]) -> u32 {
    if has_sender(command) {
        word_at(command, SEQUENCE)
    } else {
        0
    }
}

fn word_at(message: &[u8], place: std::ops::Range<usize>) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&message[place]);
    u32::from_le_bytes(bytes)
}

/// Who sends the commands of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    /// The session; zero is the exchange itself.
    pub(super) session: u32,
    /// The `SESSION:` before the command, if any.
    pub(super) prefix: Option<Word<'a>>,
}

const COMMAND: &str = "a command, such as `buy 10 @ 2.50`";

/// Understands a line.
///
/// # Errors
/// [`Misfit`] with the place of what does not fit.
pub(super) fn parse<'a>(line: &'a str, memory: &Memory) -> Result<Statement<'a>, Misfit> {
    let mut phrase = Phrase::new(line);
    let Some(first) = phrase.next() else {
        return Ok(Statement::Nothing);
    };
    let (sender, mut verb) = match first.text.strip_suffix(':') {
        Some(digits) => {
            let session = number_of(first, digits, "the number of a session, such as `1:`")?;
            let sender = Sender {
                session,
                prefix: Some(first),
            };
            (sender, phrase.word(COMMAND)?)
        }
        None => (
            Sender {
                session: 0,
                prefix: None,
            },
            first,
        ),
    };
    if verb.text == "seq" {
        phrase.sequence = Some(phrase.number("a sequence number")?);
        verb = phrase.word(COMMAND)?;
    }
    let statement = match verb.text {
        "at" => Statement::At(phrase.moment(memory.now)?),
        "after" => Statement::At(memory.now.after(phrase.span()?)),
        "batch" => Statement::BatchBegin,
        "end" => Statement::BatchEnd,
        "include" => Statement::Include(phrase.word("the name of a script in double quotes")?),
        _ => return parse_commands(verb, sender, &mut phrase, memory).map(Statement::Commands),
    };
    if let Some(prefix) = sender.prefix {
        let what = format!("`{}` is not sent by a session", verb.text);
        return Err(prefix.misfit(what, format!("`{}` alone", verb.text)));
    }
    phrase.finish()?;
    if phrase.sequence.is_some() || phrase.request.is_some() {
        let what = format!("`{}` is not numbered", verb.text);
        return Err(verb.misfit(what, "no `seq` and no `request` in this line"));
    }
    match phrase.overrides.first() {
        Some(word) => Err(word.misfit(format!("`{}` has no fields", verb.text), "nothing more")),
        None => Ok(statement),
    }
}

fn parse_commands(
    verb: Word<'_>,
    sender: Sender<'_>,
    phrase: &mut Phrase<'_>,
    memory: &Memory,
) -> Result<Vec<Draft>, Misfit> {
    let mut drafts = if verb.text == "send" {
        vec![send(phrase)?]
    } else if let Some(drafts) = order_entry::parse(verb, sender, phrase, memory)? {
        drafts
    } else if let Some(drafts) = operations::parse(verb, phrase, memory)? {
        drafts
    } else if let Some(drafts) = phases::parse(verb, phrase)? {
        drafts
    } else if let Some(drafts) = session_control::parse(verb, phrase, memory)? {
        drafts
    } else {
        return Err(verb.misfit(format!("`{}` is not a command", verb.text), VERBS));
    };
    phrase.finish()?;
    complete(&mut drafts, sender, phrase, memory)?;
    Ok(drafts)
}

const VERBS: &str = "buy, sell, cancel, status, replace, mass-cancel, dead-man, quote; participant, account, session, \
    instrument, limit, deposit, withdraw, kill, release, confirm, activity, bust, correct, settle, key, machine, deliver, fail; \
    calendar, halt, resume, auction-seed, breaker, price-band, instrument-status; \
    connect, disconnect, open, ready, restart, tick, hash, checkpoint; send; at, after, batch, \
    end, include";

/// `send NAME field=value ...`.
fn send(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let expected = "the name of a command, such as NewOrder";
    let name = phrase.word(expected)?;
    let form = form_named(name.text)
        .filter(|form| COMMAND_TEMPLATES.contains(&form.declaration.template_id))
        .ok_or_else(|| name.misfit(format!("no command is named `{}`", name.text), expected))?;
    Ok(Draft {
        message: form.blank(),
        numbering: Numbering::Given,
    })
}

/// Fills in who sends, what the line overrides, and whether a number is still needed.
fn complete(
    drafts: &mut [Draft],
    sender: Sender<'_>,
    phrase: &Phrase<'_>,
    memory: &Memory,
) -> Result<(), Misfit> {
    let numbered = phrase
        .overrides
        .iter()
        .any(|word| word.text.starts_with("sequence="));
    for draft in drafts.iter_mut().filter(|draft| draft.has_sender()) {
        draft.set_session(sender.session);
        match phrase.sequence {
            Some(sequence) => draft.set_sequence(sequence),
            None if numbered => {}
            None => draft.numbering = Numbering::Automatic,
        }
    }
    if let Some(prefix) = sender
        .prefix
        .filter(|_| !drafts.iter().all(Draft::has_sender))
    {
        let what = "this command is the exchange's own".to_owned();
        return Err(prefix.misfit(what, "the command without a session before it"));
    }
    for word in &phrase.overrides {
        set_field(drafts, *word, memory)?;
    }
    for draft in drafts.iter_mut().filter(|draft| draft.session() == 0) {
        draft.numbering = Numbering::Given;
    }
    Ok(())
}

/// Sets a field in the first command of the line that has it.
fn set_field(drafts: &mut [Draft], word: Word<'_>, memory: &Memory) -> Result<(), Misfit> {
    let (name, text) = word.text.split_once('=').unwrap_or((word.text, ""));
    let mut known = Vec::new();
    for draft in drafts {
        let Some(form) = form_of(&draft.message) else {
            continue;
        };
        let Some(field) = form.field(name) else {
            known.push(format!(
                "{}: {}",
                form.declaration.name,
                field_names(&form.fields)
            ));
            continue;
        };
        let place = Word {
            text,
            offset: word.offset + name.len() + 1,
        };
        let value = match text.strip_prefix('#') {
            Some(reference) => order_named(place, reference, draft.session(), memory)?.to_string(),
            None => text.to_owned(),
        };
        return set_value(field, &value, &mut draft.message)
            .map_err(|error| place.misfit(error.what, error.expected));
    }
    Err(word.misfit(format!("there is no field `{name}`"), known.join("; ")))
}

/// The order that `#7` or `#2:7` stands for: what a session last had accepted under that id.
pub(super) fn order_named(
    place: Word<'_>,
    reference: &str,
    session: u32,
    memory: &Memory,
) -> Result<u64, Misfit> {
    let expected = "`#CLIENT_ORDER_ID` or `#SESSION:CLIENT_ORDER_ID` of an accepted order";
    let (session, client_order_id) = match reference.split_once(':') {
        Some((session, rest)) => (number_of(place, session, expected)?, rest),
        None => (session, reference),
    };
    let client_order_id = number_of(place, client_order_id, expected)?;
    let order = memory.order(session, client_order_id).ok_or_else(|| {
        let what = format!("session {session} has had no order {client_order_id} accepted");
        place.misfit(what, expected)
    })?;
    Ok(order.0)
}

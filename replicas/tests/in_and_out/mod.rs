//! What the tests of nodes share: an order, and what a log holds.

use std::fs;
use std::path::{Path, PathBuf};

use exahour_journal::{Reader, Verify, inspect};
use exahour_wire::codes::{OrderType, Side, TimeInForce};
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId};
use exahour_wire::message::Message;
use exahour_wire::orders::NewOrder;
use exahour_wire::units::{Price, Quantity};

/// An order that rests.
pub(crate) fn order(name: u64, account: u32, side: Side, quantity: u64) -> NewOrder {
    NewOrder {
        client_order_id: ClientOrderId(name),
        price: "2.50".parse::<Price>().unwrap(),
        quantity: Quantity(quantity),
        account: AccountId(account),
        instrument: InstrumentId(1),
        side: side.into(),
        order_type: OrderType::Limit.into(),
        time_in_force: TimeInForce::GoodTillCancelled.into(),
        ..NewOrder::blank()
    }
}

/// The first segment of a whole log.
pub(crate) fn first_segment(folder: &Path) -> PathBuf {
    folder.join(format!("{:020}.log", 0))
}

/// Damages a file.
pub(crate) fn flip_a_bit(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The events a node wrote, one after the other.
pub(crate) fn read_events(folder: &Path) -> Vec<u8> {
    let end = inspect(folder, Verify::Every).unwrap();
    let mut reader = Reader::closed(folder, &end, Verify::Trust).unwrap();
    let mut events = Vec::new();
    while let Some(frame) = reader.next(end.appended).unwrap() {
        events.extend_from_slice(frame.payload);
    }
    events
}

/// What a loss of power takes back to where it was.
const LOST_WITH_POWER: [&str; 2] = ["journal", "snapshots"];

/// Keeps a copy of what a node that has stopped would find after a loss of power.
pub(crate) fn keep_for_power_loss(data: &Path) {
    for name in LOST_WITH_POWER {
        copy_files(&data.join(name), &data.join(name).with_extension("then"));
    }
}

/// Takes the power of a node that has stopped: its disk has what was kept, and all of its event log.
pub(crate) fn lose_power(data: &Path) {
    for name in LOST_WITH_POWER {
        let folder = data.join(name);
        fs::remove_dir_all(&folder).unwrap();
        copy_files(&folder.with_extension("then"), &folder);
    }
    // Without its marks nothing says that the machine has run on.
    fs::remove_file(data.join("journal/control")).unwrap();
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

//! What the next command will need, asked for while the one before it is carried out.
//!
//! Clients name any order of theirs, so its name and its place are mostly in no near cache. A command
//! takes longer than either needs to come.
//!
//! Always holds: changes nothing but the time that things take, whatever bytes a command has.

use std::hint::select_unpredictable;
use std::mem::offset_of;

use exahour_wire::ids::{ClientOrderId, OrderId};
use exahour_wire::message::Message;
use exahour_wire::orders::{CancelOrder, NewOrder, ReplaceOrder};

use super::Execute;
use crate::admit::CommandPrefix;
use crate::book::slot_of;

/// The start of a command as words. What a place means goes by the command; for one that is neither of
/// the three it means nothing, and nothing comes of it.
type Words = [u64; 5];

const WORD: usize = size_of::<u64>();

/// Where a new order and a replace have the name that is looked for.
const NAME: usize = offset_of!(NewOrder, client_order_id) / WORD;
const _: () = assert!(NAME == offset_of!(ReplaceOrder, client_order_id) / WORD);

/// Where a cancel has it.
const NAME_OF_CANCEL: usize = offset_of!(CancelOrder, client_order_id) / WORD;

/// Where a cancel and a replace have the order.
const ORDER: usize = offset_of!(CancelOrder, order) / WORD;
const _: () = assert!(ORDER == offset_of!(ReplaceOrder, order) / WORD);

impl Execute {
    /// Asks for the name and the order that a command is about.
    #[inline]
    pub(crate) fn look_ahead(&self, command: &[u8]) {
        let Some(start) = command.first_chunk::<{ size_of::<Words>() }>() else {
            return;
        };
        let words: Words = bytemuck::pod_read_unaligned(start);
        let Some(prefix) = CommandPrefix::peek(start) else {
            return;
        };
        let template = prefix.header.template_id;
        // Chosen without a branch: which command comes next is what a processor guesses worst.
        let cancels = template == CancelOrder::TEMPLATE_ID;
        let name = select_unpredictable(cancels, words[NAME_OF_CANCEL], words[NAME]);
        self.names.fetch(prefix.session, ClientOrderId(name));
        let enters = template == NewOrder::TEMPLATE_ID;
        let (next, named) = (self.orders.next_but_one(), slot_of(OrderId(words[ORDER])));
        self.orders.fetch(select_unpredictable(enters, next, named));
    }
}

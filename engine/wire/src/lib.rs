//! exahour-wire.

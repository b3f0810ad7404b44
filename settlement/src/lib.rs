//! exahour-settlement.

//! exahour-journal.

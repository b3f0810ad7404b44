//! exahour-benches.

//! exahour-engine.

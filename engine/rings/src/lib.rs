//! exahour-rings.

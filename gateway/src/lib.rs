//! exahour-gateway.

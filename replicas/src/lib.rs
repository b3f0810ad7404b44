//! exahour-replicas.

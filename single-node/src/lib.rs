//! single-node.

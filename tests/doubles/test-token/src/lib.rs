//! test-token.

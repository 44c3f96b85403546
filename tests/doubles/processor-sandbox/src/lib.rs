//! processor-sandbox.

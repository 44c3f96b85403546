//! larder-end-to-end.

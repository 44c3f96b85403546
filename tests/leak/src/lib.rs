//! larder-leak.

//! larder-walls.

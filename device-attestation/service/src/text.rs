//! How values are written for people and programs: moments (RFC 3339, UTC, to the second) and bytes.

use data_encoding::HEXLOWER;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The moment so many seconds since the Unix epoch.
pub(crate) fn moment(unix_s: i64) -> String {
    let read = OffsetDateTime::from_unix_timestamp(unix_s).ok().and_then(|at| at.format(&Rfc3339).ok());
    read.unwrap_or_else(|| format!("{unix_s} s"))
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

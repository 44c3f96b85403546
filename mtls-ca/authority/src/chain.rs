//! What the authority hands out. It is a value of its own, so that those who write it to disk need not know how it was
//! made.

/// DER as PEM (RFC 7468) of this kind.
pub(crate) fn pem(kind: &str, der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let mut lines = format!("-----BEGIN {kind}-----\n");
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            lines.push('\n');
        }
        lines.push(letter);
    }
    lines.push_str(&format!("\n-----END {kind}-----\n"));
    lines
}

/// A leaf that was issued, with what its holder shows to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedChain {
    /// The leaf and its intermediate, PEM, leaf first.
    pub chain_pem: String,
    /// The leaf's serial number, lowercase hex.
    pub serial: String,
    /// First second of its life, since the Unix epoch.
    pub not_before_unix_s: i64,
    /// Last second of its life, since the Unix epoch.
    pub not_after_unix_s: i64,
    /// SHA-256 of the leaf in DER, lowercase hex: how the issuance log knows it.
    pub sha256: String,
}

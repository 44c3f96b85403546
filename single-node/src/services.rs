//! What runs on one machine, by name.

use ca_identity::ServiceName;

/// The services outside the PCI zone, in the order they are told of.
pub const OPS: [(&str, ServiceName); 4] = [
    ("inventory", ServiceName::Inventory),
    ("customers", ServiceName::Customers),
    ("status", ServiceName::Status),
    ("admin", ServiceName::Admin),
];
/// The certificate authority, which tells the others what was revoked.
pub const AUTHORITY: &str = "authority";
/// The service inside it.
pub const PURCHASE: &str = "purchase-session";

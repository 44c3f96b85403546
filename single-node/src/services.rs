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
/// Its ACME server.
pub const ACME: &str = "acme";
/// What gets the services' certificates.
pub const RENEW: &str = "renew";
/// The attestation service.
pub const ATTESTATION: &str = "attestation";
/// Who reads metrics.
pub const MONITORING: &str = "monitor";
/// The service inside the PCI zone.
pub const PURCHASE: &str = "purchase-session";
/// Every service that can have a certificate over ACME.
pub const HOUSE: [&str; 7] = ["inventory", "customers", "status", "admin", PURCHASE, MONITORING, ATTESTATION];

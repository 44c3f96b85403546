//! Who may call what. Access is a closed `match` on (role, method) that yields a [`Permit`]; a handler takes the permit
//! of its method, so a handler that nobody guarded does not compile.
//!
//! The Cedar policies are the specification; this table is their proof-read copy, compared pair by pair by a wall test.
//! It is a copy and not the policy engine because the engine stays out of the PCI zone.

use std::marker::PhantomData;

use ca_identity::{Role, ServiceName};
use ca_mtls::Peer;
use pci_contract::{FridgeId, Timestamp};
use thiserror::Error;

/// Everything that can be called here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `PurchaseSession/SealingKey`.
    SealingKey,
    /// `PurchaseSession/Purchase`.
    Purchase,
    /// `PurchaseSession/EnrollCard`.
    EnrollCard,
    /// `PurchaseSession/ReportTamper`.
    ReportTamper,
    /// `GET /healthz`.
    Health,
    /// `GET /metrics`.
    Metrics,
}

impl Method {
    /// Every method, for whoever wants to check them all.
    pub const ALL: [Self; 6] =
        [Self::SealingKey, Self::Purchase, Self::EnrollCard, Self::ReportTamper, Self::Health, Self::Metrics];
}

/// Whether `role` may call `method`.
#[must_use]
pub fn permitted(role: &Role, method: Method) -> bool {
    match (role, method) {
        (Role::Fridge(_), Method::SealingKey | Method::Purchase | Method::EnrollCard | Method::ReportTamper) => true,
        (Role::Service(ServiceName::Monitor), Method::Health | Method::Metrics) => true,
        (Role::Operator(name), Method::Health | Method::Metrics) => is_auditor(name.as_str()),
        (Role::Fridge(_) | Role::Quarantined(_) | Role::Service(_) | Role::Operator(_), _) => false,
    }
}

/// An operator's name begins with his role, up to the first hyphen.
fn is_auditor(name: &str) -> bool {
    name.split('-').next() == Some("auditor")
}

/// A method that a permit can be for.
pub trait Guarded {
    /// Which one.
    const METHOD: Method;
}

macro_rules! guarded {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;
        impl Guarded for $name {
            const METHOD: Method = Method::$name;
        }
    )*};
}

guarded! {
    /// Marks a permit to get the sealing key.
    SealingKey;
    /// Marks a permit to purchase.
    Purchase;
    /// Marks a permit to enrol a card.
    EnrollCard;
    /// Marks a permit to report tampering.
    ReportTamper;
    /// Marks a permit to ask after health.
    Health;
    /// Marks a permit to read metrics.
    Metrics;
}

/// Being allowed, as a value: this caller may call this method. Only [`authorize`] makes one.
#[derive(Debug)]
pub struct Permit<M> {
    role: Role,
    method: PhantomData<M>,
}

impl<M> Permit<M> {
    /// The fridge that calls.
    ///
    /// # Errors
    /// [`Denied::NotAFridge`] when the caller is none, or bears a name no fridge can have.
    pub fn fridge(&self) -> Result<FridgeId, Denied> {
        match &self.role {
            Role::Fridge(name) => FridgeId::parse(name.as_str()).map_err(|_| Denied::NotAFridge),
            Role::Quarantined(_) | Role::Service(_) | Role::Operator(_) => Err(Denied::NotAFridge),
        }
    }
}

/// Why a call was not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Denied {
    /// The role may not call this method.
    #[error("your certificate's role may not call this method")]
    Role,
    /// The certificate has expired since the connection was made.
    #[error("your certificate has expired; renew it and connect again")]
    Expired,
    /// Only a fridge can do this.
    #[error("only a fridge may call this method")]
    NotAFridge,
}

/// Decides whether `peer` may call the method `M` at `now`.
///
/// # Errors
/// [`Denied`] says why not.
pub fn authorize<M: Guarded>(peer: &Peer, now: Timestamp) -> Result<Permit<M>, Denied> {
    if peer.not_after < now.seconds() {
        return Err(Denied::Expired);
    }
    if !permitted(peer.id.role(), M::METHOD) {
        return Err(Denied::Role);
    }
    Ok(Permit { role: peer.id.role().clone(), method: PhantomData })
}

//! An order that may be signed. It is made here alone, out of an order whose every proof holds, the request for it, and the
//! binding key that allows it; so what reaches the signer has been through all of it, at its first try as after a crash.

use std::net::IpAddr;

use ca_identity::SpiffeId;
use data_encoding::HEXLOWER;

use crate::account::{Account, AccountStatus};
use crate::csr::Csr;
use crate::grant::{EabKey, Profile};
use crate::order::{Order, Stage};
use crate::problem::{Kind, Problem};

/// An order that may be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedOrder {
    order: String,
    profile: Profile,
    party: SpiffeId,
    dns: Vec<String>,
    ip: Vec<IpAddr>,
    point: [u8; 65],
}

impl ApprovedOrder {
    /// Approves an order that is being processed.
    ///
    /// # Errors
    /// [`Problem`] with the first thing that does not hold.
    pub fn approve(order: &Order, account: &Account, eab: &EabKey) -> Result<Self, Problem> {
        let Stage::Processing { csr } = &order.stage else {
            return Err(Problem::new(Kind::OrderNotReady, "the order is not being processed"));
        };
        if order.account != account.id || account.eab_kid != eab.kid {
            return Err(Problem::new(Kind::Unauthorized, "the order is another account's"));
        }
        if account.status != AccountStatus::Valid {
            return Err(Problem::new(Kind::Unauthorized, "the account of the order was deactivated"));
        }
        let grant = eab.in_force()?;
        let identifiers: Vec<&str> = order.authorizations.iter().map(|one| one.identifier.as_str()).collect();
        let allowed = grant.identifiers();
        if order.profile != grant.profile() || !identifiers.iter().all(|one| allowed.iter().any(|name| name == one)) {
            return Err(Problem::new(
                Kind::Unauthorized,
                "the order asks for more than its external account key allows",
            ));
        }
        if !order.is_proved() {
            return Err(Problem::new(Kind::OrderNotReady, "not every identifier of the order is proved"));
        }
        let csr = Csr::parse(csr)?;
        let (dns, ip) = sorted(&identifiers);
        check_names(&csr, &identifiers, (&dns, &ip), grant.party())?;
        check_key(&csr, order, account)?;
        let dns = match order.profile {
            Profile::Service => dns,
            Profile::Device => Vec::new(),
        };
        let party = match order.device() {
            Some(device) if device.is_quarantined() => quarantined(grant.party())?,
            _ => grant.party().clone(),
        };
        Ok(Self { order: order.id.clone(), profile: order.profile, party, dns, ip, point: csr.point })
    }

    /// The id of the order.
    #[must_use]
    pub fn order(&self) -> &str {
        &self.order
    }

    /// What the certificate is for.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Whom it names.
    #[must_use]
    pub const fn party(&self) -> &SpiffeId {
        &self.party
    }

    /// The DNS names that were proved; none for a device.
    #[must_use]
    pub fn dns(&self) -> &[String] {
        &self.dns
    }

    /// The addresses that were proved; none for a device.
    #[must_use]
    pub fn ip(&self) -> &[IpAddr] {
        &self.ip
    }

    /// The P-256 key it is for, as an uncompressed point.
    #[must_use]
    pub const fn point(&self) -> &[u8; 65] {
        &self.point
    }
}

/// Whom the certificate of a device in quarantine names.
fn quarantined(party: &SpiffeId) -> Result<SpiffeId, Problem> {
    let none =
        || Problem::new(Kind::Unauthorized, format!("{party} is no fridge, and nobody else can be in quarantine"));
    party.quarantined().ok_or_else(none)
}

/// What was ordered as names, and as addresses.
fn sorted(identifiers: &[&str]) -> (Vec<String>, Vec<IpAddr>) {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    for identifier in identifiers {
        match identifier.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push((*identifier).to_owned()),
        }
    }
    (names, addresses)
}

/// The request may name what was ordered, each as what it is, and the party itself; names it does not ask for are put in
/// all the same.
fn check_names(
    csr: &Csr,
    identifiers: &[&str],
    (names, addresses): (&[String], &[IpAddr]),
    party: &SpiffeId,
) -> Result<(), Problem> {
    let common = csr.common_names.iter().filter(|name| !identifiers.contains(&name.as_str())).cloned();
    let dns = csr.dns.iter().filter(|name| !names.contains(name)).cloned();
    let ip = csr.ip.iter().filter(|address| !addresses.contains(address)).map(IpAddr::to_string);
    let uris = csr.uris.iter().filter(|uri| uri.as_str() != party.as_str()).cloned();
    match common.chain(dns).chain(ip).chain(uris).next() {
        None => Ok(()),
        Some(name) => {
            let detail = format!("the certificate signing request asks for {name:?}, which is not in the order");
            Err(Problem::new(Kind::BadCsr, detail))
        }
    }
}

/// The key is not the account's, and when a TPM certified one, it is that one, by the request that the verdict is for.
fn check_key(csr: &Csr, order: &Order, account: &Account) -> Result<(), Problem> {
    if account.key.point().is_some_and(|point| point == csr.point) {
        let detail = "the certificate signing request is for the account's own key; make another one";
        return Err(Problem::new(Kind::BadCsr, detail));
    }
    if order.profile != Profile::Device {
        return Ok(());
    }
    let device = order.device().filter(|device| device.point() == HEXLOWER.encode(&csr.point));
    let Some(device) = device else {
        let detail = "the certificate signing request is for another key than the one that the TPM certified";
        return Err(Problem::new(Kind::BadCsr, detail));
    };
    if device.csr_sha256() != csr.sha256 {
        let detail = "the certificate signing request is another than the one that the attestation service's verdict is \
                      for; send that one, or make a new order and have the device attested for it";
        return Err(Problem::new(Kind::BadCsr, detail));
    }
    Ok(())
}

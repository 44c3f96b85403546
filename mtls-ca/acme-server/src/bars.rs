//! Whose external account keys are worth nothing any more: a fridge was stolen, its certificates were revoked with
//! `larder-ca revoke`, and whoever has it must not get others by the way that it was enrolled.
//!
//! The authority's lists say what was revoked and why, its log whose it was. A list names a certificate for a few days only,
//! so what is found is kept with the keys; and the lists are read when they changed, before a fridge's request is answered
//! and on a beat. A key that was made after the revocation is good: somebody has looked at the device since.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use authority::{Authority, SignedList, read_log};
use ca_acme::{Certificate, Order, Revoked};
use ca_identity::{Role, SpiffeId};
use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::error::AcmeServerError;
use crate::store::{Bar, Store};

/// keyCompromise and privilegeWithdrawn (RFC 5280, section 5.3.1). The other reasons say nothing against the party.
const REASONS: [u8; 2] = [1, 9];

type Hash = [u8; 32];
/// Certificates on the lists, by serial number in lower-case hex.
type Listed = BTreeMap<String, Revoked>;

/// What was read of the lists.
#[derive(Debug, Default)]
pub(crate) struct Bars(Mutex<(Option<Hash>, Listed)>);

impl Bars {
    /// Reads the lists if they changed, and bars the keys that they concern; whether they changed.
    pub(crate) async fn look(&self, authority: &Arc<Authority>, store: &Store) -> Result<bool, AcmeServerError> {
        let (authority, seen) = (Arc::clone(authority), self.seen().0);
        let read = tokio::task::spawn_blocking(move || read(&authority, seen)).await;
        let read = read.map_err(|why| AcmeServerError::system("reading lists ended", std::io::Error::other(why)))??;
        let Some(Read { hash, listed, bars }) = read else { return Ok(false) };
        for bar in &bars {
            if store.bar(bar).await? {
                let Bar { party, reason, .. } = bar;
                tracing::warn!(%party, reason, "a revocation bars the party's external account keys");
            }
        }
        *self.seen() = (Some(hash), listed);
        Ok(true)
    }

    /// An order with what the lists, as they were read last, say of its certificate: a certificate that `larder-ca revoke`
    /// took back is not revoked by anybody's word to this server.
    pub(crate) fn with_lists(&self, order: Order) -> Order {
        let Some(certificate) = order.certificate() else { return order };
        let listed = self.seen().1.get(&certificate.serial).copied();
        let certificate = Certificate { revoked: certificate.revoked.or(listed), ..certificate.clone() };
        order.issued(certificate)
    }

    fn seen(&self) -> MutexGuard<'_, (Option<Hash>, Listed)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the lists say, and whom that bars.
struct Read {
    hash: Hash,
    listed: Listed,
    bars: Vec<Bar>,
}

/// What the lists of now say, unless they are those that were seen.
fn read(authority: &Authority, seen: Option<Hash>) -> Result<Option<Read>, AcmeServerError> {
    let lists = authority.lists()?;
    let hash = hash(&lists);
    if Some(hash) == seen {
        return Ok(None);
    }
    let mut listed = Listed::new();
    for list in &lists {
        listed.extend(revoked(list)?);
    }
    let mut bars = Vec::new();
    if listed.values().any(|revoked| REASONS.contains(&revoked.reason)) {
        read_log(authority.dir(), |entry| {
            let revoked = listed.get(&entry.serial).filter(|revoked| REASONS.contains(&revoked.reason));
            if let (Some(Revoked { unix_s, reason }), Some(party)) = (revoked, fridge(&entry.subject)) {
                bars.push(Bar { party, unix_s: *unix_s, reason: *reason });
            }
        })?;
    }
    Ok(Some(Read { hash, listed, bars }))
}

/// The fridge whose certificate this was, in quarantine or not; none of anybody else.
fn fridge(subject: &str) -> Option<SpiffeId> {
    let party = SpiffeId::parse(subject).ok()?;
    match party.role() {
        Role::Fridge(_) => Some(party),
        Role::Quarantined(name) => SpiffeId::fridge(party.trust_domain(), name.as_str()).ok(),
        Role::Service(_) | Role::Operator(_) => None,
    }
}

fn hash(lists: &[SignedList]) -> Hash {
    let mut context = Context::new(&SHA256);
    lists.iter().for_each(|list| context.update(&list.list));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// What a list names, with when and why.
fn revoked(list: &SignedList) -> Result<Listed, AcmeServerError> {
    let Ok((_, parsed)) = CertificateRevocationList::from_der(&list.list) else {
        return Err(AcmeServerError::corrupt("a revocation list", "it cannot be read"));
    };
    let entries = parsed.iter_revoked_certificates().map(|entry| {
        let reason = entry.reason_code().map_or(0, |(_, reason)| reason.0);
        let revoked = Revoked { unix_s: entry.revocation_date.timestamp(), reason };
        (HEXLOWER.encode(entry.raw_serial()), revoked)
    });
    Ok(entries.collect())
}

#[cfg(test)]
mod tests {
    use ca_acme::{EabKey, Grant, Host, Revoked};
    use ca_identity::SpiffeId;
    use zeroize::Zeroizing;

    use super::fridge;
    use crate::store::{Bar, Store};

    fn party(path: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://larder.internal/{path}")).unwrap()
    }

    fn key(kid: &str, grant: Grant, created_unix_s: i64) -> EabKey {
        let mac_key = Zeroizing::new([7; 32]);
        EabKey { kid: kid.into(), mac_key, grant, account: None, created_unix_s, revoked_unix_s: None, barred: None }
    }

    #[tokio::test]
    async fn keys_of_the_party_and_for_its_tpm_are_barred_when_they_are_older() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = Store::open(&folder.path().join("acme.db")).await.unwrap();
        let device = |path: &str, ek: u8| Grant::device(party(path), [ek; 32]).unwrap();
        let service = Grant::service(party("service/admin"), vec![Host::dns("admin.example").unwrap()]).unwrap();
        for key in [
            key("its own", device("fridge/f1", 1), 100),
            key("its own at the same second", device("fridge/f1", 1), 200),
            key("made since", device("fridge/f1", 1), 201),
            key("another name for its TPM", device("fridge/f2", 1), 100),
            key("another name for its TPM, made since", device("fridge/f2", 1), 201),
            key("its name on another TPM", device("fridge/f1", 3), 100),
            key("another fridge", device("fridge/f3", 4), 100),
            key("a service", service, 100),
        ] {
            store.add_eab(&key).await.unwrap();
        }
        let bar = Bar { party: party("fridge/f1"), unix_s: 200, reason: 9 };
        assert!(store.bar(&bar).await.unwrap());
        assert!(!store.bar(&Bar { unix_s: 199, reason: 1, ..bar }).await.unwrap(), "what is barred stays as it is");
        let barred: Vec<_> = store.eabs().await.unwrap().into_iter().filter(|key| key.barred.is_some()).collect();
        assert!(barred.iter().all(|key| key.barred == Some(Revoked { unix_s: 200, reason: 9 })), "{barred:?}");
        let mut kids: Vec<_> = barred.into_iter().map(|key| key.kid).collect();
        kids.sort();
        let expected = ["another name for its TPM", "its name on another TPM", "its own", "its own at the same second"];
        assert_eq!(kids, expected);
    }

    #[test]
    fn a_fridge_is_the_same_in_quarantine_and_nobody_else_is_one() {
        let named = |path: &str| fridge(&format!("spiffe://larder.internal/{path}")).map(|party| party.to_string());
        assert_eq!(named("fridge/f1").as_deref(), Some("spiffe://larder.internal/fridge/f1"));
        assert_eq!(named("quarantine/f1"), named("fridge/f1"));
        assert_eq!((named("service/admin"), named("operator/ada"), fridge("attestation-key/00")), (None, None, None));
    }
}

//! The authority of this machine, and the identities it has issued by hand: one folder each, renewed long before they expire.
//! Services get theirs over ACME, which is [`crate::renewal`]'s.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use authority::{
    Authority, AuthorityConfig, IssuedFiles, KeyPairPem, Names, Order, Pin, Profile, Reason, SubjectKey, Which,
};
use ca_identity::{SINGLE_NODE_TRUST_DOMAIN, ServiceName, SpiffeId, TrustDomain};
use ca_mtls::{Identity, TrustBundle};
use ca_rotation::{Direction, Tier};

use crate::hsm::Token;
use crate::layout::Layout;
use crate::{Fault, people};

/// Who can have an identity here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A service.
    Service(&'static str),
    /// A fridge.
    Fridge(String),
    /// A person.
    Operator(&'static str),
}

impl Party {
    /// The name of its folder and in `endpoints.json`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Service(name) | Self::Operator(name) => name,
            Self::Fridge(name) => name,
        }
    }
}

/// Issues identities.
pub struct Issuer {
    authority: Authority,
    layout: Layout,
    trust_domain: TrustDomain,
    issued: Mutex<BTreeSet<Party>>,
}

impl Issuer {
    /// Opens the authority of this machine, or makes it. The process must see `token` through `SOFTHSM2_CONF`.
    ///
    /// # Errors
    /// [`Fault`] when the authority cannot be made or opened.
    pub fn open(layout: &Layout, token: &Token) -> Result<Self, Fault> {
        let trust_domain = TrustDomain::parse(SINGLE_NODE_TRUST_DOMAIN).map_err(Fault::of("the trust domain"))?;
        let config = AuthorityConfig {
            dir: layout.authority(),
            module: token.module.clone(),
            token_label: token.label.clone(),
            pin: Pin::File(token.pin_file.clone()),
            trust_domain: trust_domain.clone(),
        };
        let made = layout.authority().join("authority.toml").exists();
        let authority = match made {
            true => Authority::open(&config),
            false => Authority::init_with(&config, &people::make(layout)?, authority::now_unix_s()),
        };
        let authority = authority.map_err(Fault::of("the certificate authority"))?;
        Ok(Self { authority, layout: layout.clone(), trust_domain, issued: Mutex::default() })
    }

    /// The authority itself.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Takes the one step of a rotation in a direction, to which both people agree. `now_unix_s` is the time that the gates
    /// go by.
    ///
    /// # Errors
    /// [`Fault`] with the gate that holds it.
    pub fn rotate(&self, tier: Tier, direction: Direction, now_unix_s: i64) -> Result<(), Fault> {
        let what = format!("the rotation of {tier}");
        let proposal = self.authority.propose(tier, direction, now_unix_s).map_err(Fault::of(&what))?;
        let agreed = proposal.to_sign.as_deref().map(|act| people::agree(&self.layout, act)).transpose()?;
        let approvals = agreed.unwrap_or_default();
        self.authority.rotate(tier, direction, &approvals, now_unix_s).map(drop).map_err(Fault::of(&what))
    }

    /// The trust domain of every identity here.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Issues an identity to `party` by hand and writes its folder.
    ///
    /// # Errors
    /// [`Fault`] when the authority refuses or the disk fails.
    pub fn issue(&self, party: &Party) -> Result<IssuedFiles, Fault> {
        let what = format!("a certificate for {}", party.name());
        let (profile, id, names) = self.asked(party)?;
        let (key, pem): (SubjectKey, KeyPairPem) = SubjectKey::generate().map_err(Fault::of(&what))?;
        let order = Order::new(profile, &id, names, key, profile.default_lifetime_s()).map_err(Fault::of(&what))?;
        let chain = self.authority.issue(&order, authority::now_unix_s()).map_err(Fault::of(&what))?;
        let out = self.layout.identity(party.name());
        // A service follows the roots by itself, and says which it has; others take those in force along.
        let files = match party {
            Party::Service(_) if out.join("bundle.pem").exists() => {
                IssuedFiles::replace(&out, &chain, Some(pem.expose()))
            }
            _ => IssuedFiles::write(&out, &chain, Some(pem.expose()), &self.authority.trust_bundle_pem()),
        };
        let files = files.map_err(Fault::of(&what))?;
        self.issued.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(party.clone());
        Ok(files)
    }

    /// Issues an identity to `party` as it would have been `ago_s` seconds ago, good for `lifetime_s` from then: for
    /// those who want to see one expire. It is written nowhere.
    ///
    /// # Errors
    /// [`Fault`] when the authority refuses.
    pub fn issue_earlier(&self, party: &Party, lifetime_s: u32, ago_s: i64) -> Result<(Identity, TrustBundle), Fault> {
        let what = format!("a certificate for {}", party.name());
        let (profile, id, names) = self.asked(party)?;
        let (key, pem): (SubjectKey, KeyPairPem) = SubjectKey::generate().map_err(Fault::of(&what))?;
        let order = Order::new(profile, &id, names, key, lifetime_s).map_err(Fault::of(&what))?;
        let at = authority::now_unix_s().saturating_sub(ago_s);
        let chain = self.authority.issue(&order, at).map_err(Fault::of(&what))?;
        let identity = Identity::from_pem(chain.chain_pem.as_bytes(), pem.expose().as_bytes());
        let bundle = TrustBundle::from_pem(self.authority.trust_bundle_pem().as_bytes());
        Ok((identity.map_err(Fault::of(&what))?, bundle.map_err(Fault::of("the trust bundle"))?))
    }

    /// Takes back every certificate that `party` holds, as `larder-ca revoke` does.
    ///
    /// # Errors
    /// [`Fault`] when there is none, or the authority refuses.
    pub fn revoke(&self, party: &Party) -> Result<(), Fault> {
        let what = format!("the revocation of {}", party.name());
        let (_, id, _) = self.asked(party)?;
        self.authority
            .revoke(&Which::Party(id), Reason::KeyCompromise, authority::now_unix_s())
            .map(|_| ())
            .map_err(Fault::of(&what))
    }

    /// Issues anew to everybody to whom it was issued here; who uses it reads the files again by himself. The services'
    /// certificates are not among them: [`crate::stack::Stack::renew_all`] has those replaced, too.
    ///
    /// # Errors
    /// [`Fault`] of the first that fails.
    pub fn renew_all(&self) -> Result<(), Fault> {
        let issued = self.issued.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        issued.iter().try_for_each(|party| self.issue(party).map(|_| ()))
    }

    /// Reads an identity that was issued.
    ///
    /// # Errors
    /// [`Fault`] when it is not there.
    pub fn load(&self, party: &Party) -> Result<(Identity, TrustBundle), Fault> {
        let files = self.files(party);
        let identity = Identity::load(&files.0, &files.1).map_err(Fault::of("an identity"))?;
        Ok((identity, TrustBundle::load(&files.2).map_err(Fault::of("the trust bundle"))?))
    }

    /// The trust bundle in a fridge's own folder, which the fridge replaces by itself; the one in force is put there when
    /// there is none.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be written.
    pub fn bundle_in(&self, folder: &Path) -> Result<PathBuf, Fault> {
        let file = folder.join("bundle.pem");
        if !file.exists() {
            std::fs::create_dir_all(folder).map_err(Fault::io("make the folder", folder))?;
            std::fs::write(&file, self.authority.trust_bundle_pem()).map_err(Fault::io("write", &file))?;
        }
        Ok(file)
    }

    /// Certificate, key and trust bundle of `party`.
    #[must_use]
    pub fn files(&self, party: &Party) -> (PathBuf, PathBuf, PathBuf) {
        let folder = self.layout.identity(party.name());
        (folder.join("cert.pem"), folder.join("key.pem"), folder.join("bundle.pem"))
    }

    /// By what a service of this machine is reached.
    #[must_use]
    pub fn names(&self, service: &str) -> Names {
        Names {
            dns: vec!["localhost".to_owned(), format!("{service}.{}", self.trust_domain)],
            ip: vec![std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)],
        }
    }

    fn asked(&self, party: &Party) -> Result<(Profile, SpiffeId, Names), Fault> {
        let domain = &self.trust_domain;
        Ok(match party {
            Party::Service(name) => {
                let service = ServiceName::parse(name).map_err(Fault::of("a service's name"))?;
                (Profile::Service, SpiffeId::service(domain, service), self.names(name))
            }
            Party::Fridge(name) => {
                let id = SpiffeId::fridge(domain, name).map_err(Fault::of("a fridge's name"))?;
                (Profile::Device, id, Names::default())
            }
            Party::Operator(name) => {
                let id = SpiffeId::operator(domain, name).map_err(Fault::of("an operator's name"))?;
                (Profile::Operator, id, Names::default())
            }
        })
    }
}

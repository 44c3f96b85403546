//! The crowd against the bare acceptor: who may come in is counted, and who may not is not.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};

use super::super::bare_tls::{self, Acceptor, Serving};
use super::*;
use crate::secrets::write_secret;

struct Root(CertifiedIssuer<'static, KeyPair>);

impl Root {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root"))
    }

    /// The files of an identity; its bundle is the root that it trusts.
    fn issue(&self, folder: &Path, party: &str, trusts: &Self) -> Files {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let name = format!("spiffe://larder.internal/{party}");
        params.subject_alt_names = vec![SanType::URI(name.as_str().try_into().expect("a name"))];
        let pair = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&pair, &self.0).expect("a certificate");
        let at = |what: &str| folder.join(party.replace('/', "-")).with_extension(what);
        let files = Files { certificate: at("cert"), key: at("key"), bundle: at("bundle") };
        std::fs::write(&files.certificate, leaf.pem()).expect("written");
        std::fs::write(&files.bundle, trusts.0.pem()).expect("written");
        write_secret(&files.key, &pair.serialize_pem()).expect("written");
        files
    }
}

struct Stage {
    acceptor: Acceptor,
    crowd: Crowd,
    address: SocketAddr,
}

impl Stage {
    /// An acceptor under `root`, and a crowd with a certificate by `issuer`.
    async fn set(folder: &Path, root: &Root, issuer: &Root) -> Self {
        let (mut acceptor, mut crowd) = (Acceptor::default(), Crowd::default());
        let serve = bare_tls::Order::Serve(root.issue(folder, "service/purchase-session", root));
        let Serving { address, open } = acceptor.obey(&line(&serve)).await.expect("it serves");
        assert_eq!(open, 0);
        let fridges = vec![issuer.issue(folder, "fridge/FR-1", root)];
        let be = Order::Be { fridges, trust_domain: "larder.internal".to_owned() };
        assert_eq!(crowd.obey(&line(&be)).await.expect("they are").count, 1);
        Self { acceptor, crowd, address }
    }

    async fn until_open(&mut self, count: usize) {
        let open = async {
            while self.acceptor.obey(&line(&bare_tls::Order::Open)).await.expect("it tells").open != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(CONNECT_WITHIN, open).await.expect("as many are open");
    }
}

fn line<T: Serialize>(order: &T) -> String {
    serde_json::to_string(order).expect("JSON")
}

#[tokio::test]
async fn who_is_let_in_is_counted_and_leaves_nothing_open() {
    let (folder, root) = (tempfile::tempdir().expect("a folder"), Root::new());
    let mut stage = Stage::set(folder.path(), &root, &root).await;
    let knock = Order::Knock { address: stage.address, millis: 50, at_once: 4 };
    let done = stage.crowd.obey(&line(&knock)).await.expect("all are let in");
    assert!(done.count >= 4 && done.seconds >= 0.05, "{done:?}");
    stage.until_open(0).await;
    for all in [3, 5] {
        let stand = Order::Stand { address: stage.address, count: if all == 3 { 3 } else { 2 } };
        assert_eq!(stage.crowd.obey(&line(&stand)).await.expect("they stand").count, all);
        stage.until_open(all).await;
    }
    stage.crowd.obey(&line(&Order::LetGo)).await.expect("they go");
    stage.until_open(0).await;
}

#[tokio::test]
async fn who_is_refused_is_not_taken_for_one_who_was_let_in() {
    let (folder, root, other) = (tempfile::tempdir().expect("a folder"), Root::new(), Root::new());
    let mut stage = Stage::set(folder.path(), &root, &other).await;
    let knock = Order::Knock { address: stage.address, millis: 50, at_once: 1 };
    let fault = stage.crowd.obey(&line(&knock)).await.expect_err("the acceptor knows another root");
    assert!(fault.to_string().starts_with("a server refused a fridge: "), "{fault}");
    stage.until_open(0).await;
}

//! The two people who agree to what changes the authority's keys. On one machine both keys lie in one folder, which is what
//! nobody should do elsewhere; here they let the commands of a rotation be tried.

use std::path::PathBuf;

use authority::{Approval, Approver, SubjectKey};
use data_encoding::{BASE64_MIME, HEXLOWER};
use rustls_pki_types::alg_id;

use crate::Fault;
use crate::layout::Layout;
use crate::secrets::write_secret;

/// Their names.
pub const PEOPLE: [&str; 2] = ["ada", "bob"];

/// A person's private key, PEM.
#[must_use]
pub fn key(layout: &Layout, name: &str) -> PathBuf {
    layout.root().join("people").join(format!("{name}.key.pem"))
}

/// Makes a key for each of them, and says who they are.
///
/// # Errors
/// [`Fault`] when a file cannot be written.
pub fn make(layout: &Layout) -> Result<Vec<Approver>, Fault> {
    let folder = layout.root().join("people");
    std::fs::create_dir_all(&folder).map_err(Fault::io("make the folder", &folder))?;
    let made = PEOPLE.map(|name| {
        let (public, pair) = SubjectKey::generate().map_err(Fault::of("an approver's key"))?;
        write_secret(&key(layout, name), pair.expose())?;
        let path = folder.join(format!("{name}.pem"));
        std::fs::write(&path, spki_pem(&public)).map_err(Fault::io("write", &path))?;
        Ok(Approver { name: name.to_owned(), point: HEXLOWER.encode(public.point()) })
    });
    made.into_iter().collect()
}

/// Has both agree to an act.
///
/// # Errors
/// [`Fault`] when a key is not there.
pub fn agree(layout: &Layout, act: &str) -> Result<Vec<Approval>, Fault> {
    let agreed = PEOPLE.map(|name| {
        let path = key(layout, name);
        let pem = std::fs::read_to_string(&path).map_err(Fault::io("read", &path))?;
        Approval::sign(act, &pem).map_err(Fault::of("an approval"))
    });
    agreed.into_iter().collect()
}

/// A public key as a file (SubjectPublicKeyInfo, PEM).
#[must_use]
pub fn spki_pem(key: &SubjectKey) -> String {
    let spki = rustls::sign::public_key_to_spki(&alg_id::ECDSA_P256, key.point());
    let lines = BASE64_MIME.encode(&spki).replace("\r\n", "\n");
    format!("-----BEGIN PUBLIC KEY-----\n{lines}-----END PUBLIC KEY-----\n")
}

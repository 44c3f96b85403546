//! What is inside the PCI zone's service binary: nothing forbidden, and nothing that nobody has looked at.
//!
//! Whatever is linked into that binary is in PCI scope, so its dependency list is committed and every change of it is a
//! line in a review.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::Violations;

/// Packages that must not be linked into the purchase-session service, each with the reason.
pub const FORBIDDEN: &[(&str, &str)] = &[
    ("axum", "the zone speaks gRPC over hyper; a second HTTP framework is scope without use"),
    ("axum-core", "as axum"),
    ("cedar-policy", "permission inside the zone is a closed match; Cedar judges it from outside"),
    ("cedar-policy-core", "as cedar-policy"),
    ("reqwest", "the zone's one HTTP client is pci-processors"),
    ("native-tls", "TLS is rustls with ring, everywhere"),
    ("webpki-roots", "no public root store: peers and processors are pinned"),
    ("webpki-root-certs", "as webpki-roots"),
    ("rustls-native-certs", "as webpki-roots"),
    ("rustls-platform-verifier", "as webpki-roots"),
];

/// Beginnings of package names that must not be linked, each with the reason.
pub const FORBIDDEN_BEGINNINGS: &[(&str, &str)] =
    &[("openssl", "TLS is rustls with ring, everywhere"), ("aws-lc", "TLS is rustls with ring, everywhere")];

/// Which of our own folders may be linked into the PCI service, and the binaries in them that may not.
pub const OUR_FOLDERS: &[&str] = &["pci-zone", "mtls-ca/identity", "mtls-ca/mtls"];

/// Our own packages in those folders that are programs of their own and stay out.
pub const OTHER_PROGRAMS: &[&str] = &["fridge-agent"];

/// Finds forbidden packages among `name version` lines.
#[must_use]
pub fn forbidden(linked: &[String], members: &BTreeMap<String, PathBuf>) -> Violations {
    let mut found = Vec::new();
    for name in linked.iter().filter_map(|line| line.split(' ').next()) {
        let by_name = FORBIDDEN.iter().find(|(n, _)| *n == name);
        let by_beginning = FORBIDDEN_BEGINNINGS.iter().find(|(n, _)| name.starts_with(n));
        if let Some((_, reason)) = by_name.or(by_beginning) {
            found.push(format!("{name} is linked into the PCI service: {reason}"));
        }
        if let Some(folder) = members.get(name) {
            let in_place = OUR_FOLDERS.iter().any(|f| folder.starts_with(f)) && !OTHER_PROGRAMS.contains(&name);
            if !in_place {
                found.push(format!(
                    "{name} ({}) is linked into the PCI service and does not belong there",
                    folder.display()
                ));
            }
        }
    }
    found
}

/// Compares what is linked with the committed list; `refresh` is the command that rewrites it.
#[must_use]
pub fn compare(committed: &str, linked: &[String], refresh: &str) -> Violations {
    let listed: BTreeSet<&str> =
        committed.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let real: BTreeSet<&str> = linked.iter().map(String::as_str).collect();
    let news = real.difference(&listed).map(|l| format!("new in the PCI service, look at it: {l}"));
    let gone = listed.difference(&real).map(|l| format!("listed and no longer linked: {l}"));
    let mut found: Violations = news.chain(gone).collect();
    if !found.is_empty() {
        found.push(format!("when the change is wanted, rewrite the list with: {refresh}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(list: &[&str]) -> Vec<String> {
        list.iter().map(|l| (*l).to_owned()).collect()
    }

    #[test]
    fn strangers_from_the_forbidden_list_are_found() {
        let linked =
            lines(&["axum 0.8.0", "openssl-sys 0.9.0", "aws-lc-rs 1.0.0", "ring 0.17.0", "webpki-roots 1.0.0"]);
        let found = forbidden(&linked, &BTreeMap::new());
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(!found.iter().any(|v| v.starts_with("ring")));
    }

    #[test]
    fn packages_of_other_zones_and_doubles_are_found() {
        let folders = [
            ("pci-card", "pci-zone/card"),
            ("ca-mtls", "mtls-ca/mtls"),
            ("fridge-agent", "pci-zone/fridge-agent"),
            ("ops-kit", "non-pci-zone/kit"),
            ("processor-sandbox", "tests/doubles/processor-sandbox"),
            ("authority", "mtls-ca/authority"),
        ];
        let members = folders.into_iter().map(|(n, f)| (n.to_owned(), PathBuf::from(f))).collect();
        let linked: Vec<String> = folders.iter().map(|(n, _)| format!("{n} 0.1.0")).collect();
        let found = forbidden(&linked, &members);
        let named = |name: &str| found.iter().any(|v| v.starts_with(name));
        assert!(
            named("fridge-agent") && named("ops-kit") && named("processor-sandbox") && named("authority"),
            "{found:?}"
        );
        assert!(!named("pci-card") && !named("ca-mtls"), "{found:?}");
    }

    #[test]
    fn the_list_is_exact_in_both_directions() {
        let committed = "# what is linked\nring 0.17.0\nold 1.0.0\n";
        let found = compare(committed, &lines(&["ring 0.17.0", "new 2.0.0"]), "REFRESH");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().any(|v| v.contains("new 2.0.0")) && found.iter().any(|v| v.contains("old 1.0.0")));
        assert!(found.iter().any(|v| v.contains("REFRESH")));
        assert_eq!(compare(committed, &lines(&["old 1.0.0", "ring 0.17.0"]), "REFRESH"), Violations::new());
    }
}

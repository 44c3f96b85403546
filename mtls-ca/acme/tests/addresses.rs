//! Addresses as identifiers (RFC 8738): which there are, how they are ordered, proved and certified, and that an address and
//! a name are never taken for each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use std::net::IpAddr;

use ca_acme::{ApprovedOrder, Effect, Grant, Host, Kind, Stage};
use proptest::prelude::*;
use rcgen::{KeyPair, SanType};
use serde_json::{Value, json};
use world::{HOST, Holder, SERVICE, World, body, csr, csr_for, header, hosts, party, path_of, refused, wanted};

const V4: &str = "192.0.2.7";
const V6: &str = "2001:db8::7";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn dns_san(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn ip_san(text: &str) -> SanType {
    SanType::IpAddress(ip(text))
}

/// A server at which a service may have a name, an address of each kind, and the loopback address.
fn world_with_addresses() -> (World, Holder) {
    let mut world = World::new();
    let grant = Grant::service(party(SERVICE), hosts(&[HOST, V4, V6, "127.0.0.1"])).unwrap();
    world.eabs.insert("addresses".into(), world::eab("addresses", grant));
    let holder = world.enrol("addresses");
    (world, holder)
}

/// Orders these and proves all of them; the order's path.
fn proved(world: &mut World, holder: &Holder, identifiers: &[(&str, &str)]) -> String {
    let named = |(kind, value): &(&str, &str)| json!({ "type": kind, "value": value });
    let order = json!({ "identifiers": identifiers.iter().map(named).collect::<Vec<_>>() });
    let answer = world.post(holder, "new-order", &order.to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    let path = path_of(&header(&answer, "location"));
    for place in 0..identifiers.len() {
        let challenge = path.replace("order/", "challenge/") + &format!("/{place}");
        assert_eq!(world.post(holder, &challenge, "{}").status, 200);
        world.tell(&path, place, Ok(None));
    }
    path
}

#[test]
fn a_host_is_a_name_or_an_address_of_one_machine_in_its_one_form() {
    for text in
        ["admin.example", "localhost", "1.2.3.example", "a1", V4, "127.0.0.1", "255.255.255.254", V6, "::1", "fe80::1"]
    {
        let host = Host::parse(text).unwrap();
        assert_eq!(host.to_string(), text);
        assert_eq!(matches!(host, Host::Ip(_)), text.parse::<IpAddr>().is_ok(), "{text}");
    }
    for (text, why) in [
        ("", "no host name"),
        ("*.example", "no host name"),
        ("Admin.example", "no host name"),
        ("-a.example", "no host name"),
        ("a..example", "no host name"),
        ("[::1]", "no host name"),
        ("fe80::1%eth0", "no host name"),
        ("127.0.0.1:80", "no host name"),
        ("192.0.2.7/32", "no host name"),
        ("2001:DB8::7", "is to be written \"2001:db8::7\""),
        ("2001:db8:0:0:0:0:0:7", "is to be written \"2001:db8::7\""),
        ("2001:0db8::7", "is to be written \"2001:db8::7\""),
        ("0.0.0.0", "no machine"),
        ("0.1.2.3", "no machine"),
        ("::", "no machine"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("::ffff:192.0.2.7", "write it as one"),
    ] {
        let refusal = Host::parse(text).unwrap_err();
        assert!(refusal.contains(why), "{text}: {refusal}");
    }
    assert!(Host::dns(V4).is_err() && Host::dns("::1").is_err(), "an address is no name");
    assert!(Host::ip(ip("::")).is_err() && Host::ip(ip("::ffff:1.2.3.4")).is_err());
    let in_url = |text: &str| Host::parse(text).unwrap().in_url();
    assert_eq!([in_url(HOST), in_url(V4), in_url(V6)], [HOST, V4, "[2001:db8::7]"]);
}

#[test]
fn a_service_gets_a_certificate_for_its_name_and_its_addresses() {
    let (mut world, admin) = world_with_addresses();
    let order = json!({ "identifiers": [
        { "type": "ip", "value": V6 }, { "type": "dns", "value": HOST }, { "type": "ip", "value": V4 },
        { "type": "ip", "value": V4 },
    ]});
    let answer = world.post(&admin, "new-order", &order.to_string());
    let (shown, path) = (body(&answer).clone(), path_of(&header(&answer, "location")));
    let identifiers = shown["identifiers"].as_array().unwrap();
    let types: Vec<(&Value, &Value)> = identifiers.iter().map(|one| (&one["type"], &one["value"])).collect();
    let named = |kind: &str, value: &str| (json!(kind), json!(value));
    let expected = [named("ip", V4), named("ip", V6), named("dns", HOST)];
    assert_eq!(types, expected.iter().map(|(kind, value)| (kind, value)).collect::<Vec<_>>(), "each once");
    for (place, (_, value)) in expected.iter().enumerate() {
        let authorization = path_of(shown["authorizations"][place].as_str().unwrap());
        let answer = world.post(&admin, &authorization, "");
        let authorization = body(&answer).clone();
        assert_eq!(&authorization["identifier"], &identifiers[place]);
        let challenge = &authorization["challenges"][0];
        assert_eq!(challenge["type"], "http-01", "and dns-01 never, which RFC 8738 section 7 forbids for addresses");
        world.post(&admin, &path_of(challenge["url"].as_str().unwrap()), "{}");
        let Some(Effect::ProbeHttp01(probe)) = world.effects.last() else { panic!("{:?}", world.effects) };
        assert_eq!((json!(probe.host.to_string()), probe.place), (value.clone(), place));
        assert_eq!(matches!(probe.host, Host::Ip(_)), place < 2);
        world.tell(&path, place, Ok(None));
    }
    let pair = KeyPair::generate().unwrap();
    let request = csr_for(&pair, None, vec![ip_san(V6), dns_san(HOST), ip_san(V4)]);
    assert_eq!(world.finalize(&admin, &path, &request).status, 200);
    let approved = world.approved().unwrap();
    assert_eq!((approved.dns(), approved.ip()), (&[HOST.to_owned()][..], &[ip(V4), ip(V6)][..]));
}

#[test]
fn an_order_of_addresses_alone_has_no_name() {
    let (mut world, admin) = world_with_addresses();
    let path = proved(&mut world, &admin, &[("ip", V4)]);
    let pair = KeyPair::generate().unwrap();
    assert_eq!(world.finalize(&admin, &path, &csr(&pair, &[], &[SERVICE])).status, 200, "put in all the same");
    let approved = world.approved().unwrap();
    assert_eq!((approved.dns(), approved.ip()), (&[][..], &[ip(V4)][..]));
}

#[test]
fn addresses_that_are_not_ordered_as_they_must_be() {
    let (mut world, admin) = world_with_addresses();
    for (kind, value, problem, words) in [
        ("ip", "2001:DB8::7", "malformed", "is to be written \"2001:db8::7\""),
        ("ip", "2001:db8:0::7", "malformed", "is to be written \"2001:db8::7\""),
        ("ip", "[2001:db8::7]", "malformed", "no address"),
        ("ip", "192.0.2.007", "malformed", "no address"),
        ("ip", "192.0.2", "malformed", "no address"),
        ("ip", "0xc0000207", "malformed", "no address"),
        ("ip", "192.0.2.7 ", "malformed", "no address"),
        ("ip", "", "malformed", "no address"),
        ("ip", HOST, "malformed", "no address"),
        ("ip", "192.0.2.8", "rejectedIdentifier", "allows admin.larder.internal, 192.0.2.7, 2001:db8::7, 127.0.0.1"),
        ("ip", "0.0.0.0", "rejectedIdentifier", "0.0.0.0"),
        ("ip", "255.255.255.255", "rejectedIdentifier", "255.255.255.255"),
        ("ip", "ff02::1", "rejectedIdentifier", "ff02::1"),
        ("ip", "::ffff:192.0.2.7", "rejectedIdentifier", "::ffff:192.0.2.7"),
        ("dns", V4, "malformed", "order it with the type \"ip\""),
        ("dns", V6, "malformed", "order it with the type \"ip\""),
    ] {
        refused(&world.post(&admin, "new-order", &wanted(kind, &[value]).to_string()), problem, words);
    }
    assert!(world.orders.is_empty());
}

#[test]
fn a_request_asks_for_an_address_as_an_address_and_for_a_name_as_a_name() {
    let (mut world, admin) = world_with_addresses();
    let path = proved(&mut world, &admin, &[("dns", HOST), ("ip", V4)]);
    let pair = KeyPair::generate().unwrap();
    let for_names = |names: Vec<SanType>| csr_for(&pair, None, names);
    for (request, words) in [
        (for_names(vec![ip_san(V4), ip_san("127.0.0.1")]), "127.0.0.1"), // granted, and not ordered
        (for_names(vec![ip_san("192.0.2.8")]), "192.0.2.8"),
        (for_names(vec![ip_san(V6)]), V6),
        (for_names(vec![ip_san("::ffff:192.0.2.7")]), "::ffff:192.0.2.7"),
        (for_names(vec![dns_san(V4)]), V4),
        (csr_for(&pair, Some("127.0.0.1"), vec![ip_san(V4)]), "127.0.0.1"),
    ] {
        refused(&world.finalize(&admin, &path, &request), "badCSR", words);
    }
    assert!(world.approved().is_none());
    // Clients of others repeat one of the names as the common name, which nobody copies.
    let request = csr_for(&pair, Some(V4), vec![ip_san(V4), dns_san(HOST)]);
    assert_eq!(world.finalize(&admin, &path, &request).status, 200);
}

#[test]
fn an_address_that_has_neither_four_nor_sixteen_bytes_is_none() {
    let (mut world, admin) = world_with_addresses();
    let path = proved(&mut world, &admin, &[("ip", V4)]);
    let pair = KeyPair::generate().unwrap();
    // The one general name of an iPAddress (tag [7]) with five bytes, and with none.
    for content in [&[0x30, 7, 0x87, 5, 192, 0, 2, 7, 0][..], &[0x30, 2, 0x87, 0]] {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], content.to_vec());
        params.custom_extensions = vec![extension];
        let request = world::b64(params.serialize_request(&pair).unwrap().der());
        let answer = world.finalize(&admin, &path, &request);
        refused(&answer, "badCSR", "the certificate signing request");
    }
    assert!(world.approved().is_none());
}

#[test]
fn what_the_grant_does_not_name_any_more_is_not_certified() {
    let (mut world, admin) = world_with_addresses();
    let path = proved(&mut world, &admin, &[("dns", HOST), ("ip", V4)]);
    let pair = KeyPair::generate().unwrap();
    let id = path.trim_start_matches("order/");
    let mut order = world.orders[id].clone();
    order.stage = Stage::Processing { csr: csr(&pair, &[HOST], &[]) };
    let (account, mut eab) = (world.accounts.values().next().unwrap().clone(), world.eabs["addresses"].clone());
    assert!(ApprovedOrder::approve(&order, &account, &eab).is_ok());
    eab.grant = Grant::service(party(SERVICE), hosts(&[HOST, V6])).unwrap();
    let refusal = ApprovedOrder::approve(&order, &account, &eab).unwrap_err();
    assert_eq!(refusal.kind, Kind::Unauthorized, "{refusal:?}");
    // A row that says something that is no host is ours to mend, and nobody is probed for it.
    order.stage = Stage::Open;
    order.authorizations[0].identifier = "0.0.0.0".into();
    order.authorizations[0].proof = ca_acme::Proof::Pending;
    world.orders.insert(id.to_owned(), order);
    let before = world.effects.len();
    let answer = world.post(&admin, &(path.replace("order/", "challenge/") + "/0"), "{}");
    refused(&answer, "serverInternal", "0.0.0.0");
    assert_eq!(world.effects.len(), before);
}

#[test]
fn orders_that_were_stored_before_there_were_addresses_are_read() {
    let (mut world, admin) = world_with_addresses();
    let path = proved(&mut world, &admin, &[("dns", HOST), ("ip", V6)]);
    let order = &world.orders[path.trim_start_matches("order/")];
    let text = serde_json::to_value(order).unwrap();
    assert_eq!(text["authorizations"][0]["identifier"], V6, "text, as names always were");
    assert_eq!(&serde_json::from_value::<ca_acme::Order>(text).unwrap(), order);
}

proptest! {
    #[test]
    fn every_address_is_read_as_what_it_is_or_refused(bytes in any::<[u8; 16]>(), four in any::<[u8; 4]>()) {
        for address in [IpAddr::from(bytes), IpAddr::from(four)] {
            let text = address.to_string();
            match Host::ip(address) {
                Ok(host) => prop_assert_eq!(Host::parse(&text), Ok(host)),
                Err(why) => prop_assert_eq!(Host::parse(&text), Err(why)),
            }
        }
    }

    #[test]
    fn whatever_text_comes_is_one_host_or_none(text in "[0-9a-fA-F:.%\\[\\]x/-]{0,40}") {
        if let Ok(host) = Host::parse(&text) {
            prop_assert_eq!(host.to_string(), text, "nothing has two forms");
        }
    }
}

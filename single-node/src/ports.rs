//! Free ports of this machine. They are chosen before the services start, because a service that is killed must come
//! back on the port that others know.
//!
//! So a port is free for a while between being chosen and being listened on. It is chosen below those that a system gives to
//! whoever asks for any, as every connection does, and each is chosen once: nobody takes it meanwhile.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Fault;

/// Where they are looked for. Linux gives away 32,768 and above; RFC 6335 (section 6) would have it 49,152.
const FIRST: u16 = 20_000;
const COUNT: u32 = 12_000;
/// How far machines that start at the same time begin from each other; one takes some twenty.
const APART: u32 = 101;

/// How many were looked at by this process.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);

/// `N` ports of the loopback address that were free just now; no two calls get the same.
///
/// # Errors
/// [`Fault`] when there is none.
pub fn free<const N: usize>() -> Result<[u16; N], Fault> {
    let mut ports = [0; N];
    for port in &mut ports {
        *port = next()?;
    }
    Ok(ports)
}

fn next() -> Result<u16, Fault> {
    let begin = std::process::id().wrapping_mul(APART) % COUNT;
    for _ in 0..COUNT {
        let place = begin.wrapping_add(LOOKED_AT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = FIRST.saturating_add(u16::try_from(place).unwrap_or_default());
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Fault::new(format!("none of the {COUNT} ports from {FIRST} on is free")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_chosen_once_and_below_those_that_are_given_to_anybody() {
        let chosen: Vec<[u16; 5]> = (0..40).map(|_| free().unwrap()).collect();
        let different: BTreeSet<u16> = chosen.iter().flatten().copied().collect();
        assert_eq!(different.len(), 200);
        assert!(different.iter().all(|port| (20_000..32_000).contains(port)), "{different:?}");
    }

    #[test]
    fn a_port_on_which_somebody_listens_is_passed_over() {
        let [last] = free().unwrap();
        // One of those whose turn is next.
        let ahead = (last + 1..last + 9).find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
        let listener = ahead.expect("one of eight is free");
        let taken = listener.local_addr().unwrap().port();
        let chosen: [u16; 20] = free().unwrap();
        assert!(!chosen.contains(&taken), "{chosen:?} and {taken}");
    }
}

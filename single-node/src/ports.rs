//! Free ports of this machine. They are chosen before the services start, because a service that is killed must come
//! back on the port that others know.

use std::net::{Ipv4Addr, TcpListener};

use crate::Fault;

/// `N` ports of the loopback address that were free just now; all different.
///
/// # Errors
/// [`Fault`] when the system gives none.
pub fn free<const N: usize>() -> Result<[u16; N], Fault> {
    let mut ports = [0; N];
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Fault::of("no free port"))?;
        *port = listener.local_addr().map_err(Fault::of("no free port"))?.port();
        held.push(listener);
    }
    Ok(ports)
}

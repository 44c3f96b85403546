//! Room for connections. Each is an open file, and a process begins with as few of those as old programs can cope with,
//! 1,024 on most systems, however many the machine allows it: fridges beyond them would be kept waiting for nothing.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files besides connections: the databases, the HSM, the processor, the neighbours.
const OTHERS: u64 = 128;

/// Lets this process have as many files open as the machine allows it, and says what is wrong when that is too few for
/// so many connections.
///
/// # Errors
/// What the kernel answered.
pub fn make_room(connections: usize) -> std::io::Result<Option<String>> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.and_then(|most| too_few(most, connections)))
}

fn too_few(most: u64, connections: usize) -> Option<String> {
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    (most < needed).then(|| {
        format!(
            "the system allows {most} open files, and {connections} connections need {needed}: raise the hard limit"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_limit_is_raised_to_the_hard_one() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // One less, so that nobody beside us runs out.
        let less = maximum.map_or(1 << 16, |most| most - 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(less), maximum }).expect("lowered");
        make_room(1).expect("raised");
        assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: maximum, maximum });
    }

    #[test]
    fn a_machine_that_allows_too_few_is_told_of() {
        assert_eq!(too_few(10_128, 10_000), None);
        let told = too_few(10_127, 10_000).expect("too few");
        assert!(told.contains("allows 10127") && told.contains("need 10128"), "{told}");
        assert!(too_few(u64::MAX - 1, usize::MAX).is_some(), "no overflow");
    }
}

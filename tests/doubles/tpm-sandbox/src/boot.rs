//! A boot: what firmware measures into which register, in order. Its log is in the form that the kernel hands out (TCG PC
//! Client Platform Firmware Profile, section 10: crypto-agile events, here of the SHA-256 bank alone).

use crate::sha256;

/// The kind of each event: an event tag (EV_EVENT_TAG would do; EV_S_CRTM_VERSION is what firmware begins with).
const KIND: u32 = 8;
/// The SHA-256 bank.
const BANK: u16 = 0x000B;

/// What is measured at a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot(Vec<(u8, Vec<u8>)>);

impl Boot {
    /// Registers (0 to 23) and what is measured into them, in order.
    #[must_use]
    pub fn new(measured: &[(u8, &[u8])]) -> Self {
        Self(measured.iter().map(|(register, bytes)| (*register, bytes.to_vec())).collect())
    }

    /// Each event: the register and the hash that it is extended with.
    pub fn events(&self) -> impl Iterator<Item = (u8, [u8; 32])> {
        self.0.iter().map(|(register, bytes)| (*register, sha256(bytes)))
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> Vec<u8> {
        let mut form = b"Spec ID Event03\0".to_vec();
        form.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0x00, 32, 0, 0]);
        let mut log = vec![0, 0, 0, 0, 3, 0, 0, 0];
        log.extend([0; 20]);
        log.extend(u32::try_from(form.len()).unwrap_or(0).to_le_bytes());
        log.extend(form);
        for (register, hash) in self.events() {
            log.extend(u32::from(register).to_le_bytes());
            log.extend(KIND.to_le_bytes());
            log.extend(1_u32.to_le_bytes());
            log.extend(BANK.to_le_bytes());
            log.extend(hash);
            log.extend([0; 4]);
        }
        log
    }

    /// What a register holds after this boot.
    #[must_use]
    pub fn register(&self, register: u8) -> [u8; 32] {
        let events = self.events().filter(|(of, _)| *of == register);
        events.fold([0; 32], |value, (_, hash)| sha256(&[value, hash].concat()))
    }

    /// The policy of a key that is usable while these registers hold what they hold after this boot (`TPM2_PolicyPCR`, Part
    /// 3, section 23.7).
    #[must_use]
    pub fn policy(&self, registers: &[u8]) -> [u8; 32] {
        let mut sorted = registers.to_vec();
        sorted.sort_unstable();
        let values: Vec<u8> = sorted.iter().flat_map(|register| self.register(*register)).collect();
        let bits = sorted.iter().fold(0_u32, |bits, register| bits | 1_u32.wrapping_shl(u32::from(*register)));
        let [low, middle, high, _] = bits.to_le_bytes();
        let selection = [0, 0, 0, 1, 0, 0x0b, 3, low, middle, high];
        sha256(&[&[0; 32][..], &[0, 0, 0x01, 0x7f], &selection, &sha256(&values)].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::Boot;
    use crate::sha256;

    #[test]
    fn registers_hold_the_chain_of_what_was_measured() {
        let boot = Boot::new(&[(0, b"a"), (7, b"k"), (0, b"b")]);
        let first = sha256(&[[0; 32], sha256(b"a")].concat());
        assert_eq!(boot.register(0), sha256(&[first, sha256(b"b")].concat()));
        assert_eq!(boot.register(5), [0; 32]);
        assert_eq!(boot.policy(&[0, 7]), boot.policy(&[7, 0]));
        assert_ne!(boot.policy(&[0, 7]), boot.policy(&[7]));
        assert_ne!(boot.policy(&[0]), Boot::new(&[(0, b"b"), (0, b"a")]).policy(&[0]));
    }

    #[test]
    fn the_log_has_one_event_a_measurement() {
        let (none, two) = (Boot::new(&[]).log().len(), Boot::new(&[(0, b"a"), (7, b"k")]).log().len());
        assert_eq!(two - none, 2 * (4 + 4 + 4 + 2 + 32 + 4));
    }
}

//! Who plays in the story: each card once, so that a number that is found says by which way it leaked.
#![allow(unreachable_pub, missing_docs)]

use larder_leak::canary::Canary;
use ring::rand::{SecureRandom, SystemRandom};

/// When the cards expire, YYMM, and when an expired one did.
pub const EXPIRY: &str = "3112";
const PAST: &str = "2001";

/// The cards, and the sessions in which some of them are charged.
pub struct Cast {
    pub charged: Vec<Canary>,
    pub discretionary: Canary,
    pub wallets: Vec<Canary>,
    pub enrolled: Canary,
    pub not_enrolled: Canary,
    pub took_nothing: Canary,
    pub expired: Canary,
    pub misread: Canary,
    pub declined: Canary,
    pub poor: Canary,
    pub stored_then_declined: Canary,
    pub in_clear: Canary,
    pub pasted: Canary,
    pub mumbled: Canary,
    pub scanned: Canary,
    pub shown_as_token: Canary,
    pub charged_sessions: Vec<String>,
}

impl Cast {
    /// The cast of a story in which each card that is charged is charged `rounds` times, and so is a wallet.
    pub fn new(rounds: usize) -> Self {
        let charged = vec![
            Canary::new("a card that was charged", "2223003122003222"),
            Canary::new("a card of 15 digits that was charged", "371449635398431"),
            Canary::new("a card of 19 digits that was charged", "6205500000000000004"),
        ];
        let wallets = vec![
            Canary::new("a wallet's card that was charged by its owner's ID token", "36227206271667"),
            Canary::new("a wallet's card that was swiped", "5105105105105100"),
        ];
        let kinds = charged.len() + wallets.len();
        Self {
            charged,
            discretionary: Canary::discretionary("the discretionary data of a track").unwrap(),
            wallets,
            enrolled: Canary::new("a card that a customer put into his wallet", "30569309025904"),
            not_enrolled: Canary::new("a card that nobody put into a wallet", "3530111333300000"),
            took_nothing: Canary::new("the card of one who took nothing", "4222222222222"),
            expired: Canary::new("an expired card", "4012888888881881"),
            misread: Canary::misread("a misread card", "378282246310005"),
            declined: Canary::new("a declined card", "4000000000000002"),
            poor: Canary::new("a card without funds", "4000000000009995"),
            stored_then_declined: Canary::new("a card that was stored, then declined", "4000000000000341"),
            in_clear: Canary::new("a card that a fridge sent in clear", "6200000000000005"),
            pasted: Canary::new("a card that an operator pasted", "6011111111111117"),
            mumbled: Canary::new("a card in a command that is none", "4111111111111111"),
            scanned: Canary::new("a card that was scanned for a meal", "5555555555554444"),
            shown_as_token: Canary::new("a card that was shown for an ID token", "4242424242424242"),
            charged_sessions: (0..rounds * kinds).map(|_| session()).collect(),
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Canary> {
        let single = [
            &self.discretionary,
            &self.enrolled,
            &self.not_enrolled,
            &self.took_nothing,
            &self.expired,
            &self.misread,
            &self.declined,
            &self.poor,
            &self.stored_then_declined,
            &self.in_clear,
            &self.pasted,
            &self.mumbled,
            &self.scanned,
            &self.shown_as_token,
        ];
        self.charged.iter().chain(&self.wallets).chain(single).cloned().collect()
    }

    /// What is swiped in this session that is charged: a whole track, or nothing where an ID token is shown.
    pub fn track_of(&self, session: usize) -> Option<String> {
        let kinds = self.charged.len() + self.wallets.len();
        let discretionary = self.discretionary.digits();
        match session % kinds {
            3 => None,
            4 => Some(self.wallets[1].track2(EXPIRY)),
            // A number of 19 digits leaves no room on the track for this much more.
            2 => Some(self.charged[2].track2(&format!("{EXPIRY}201"))),
            kind => Some(format!(";{}?", self.charged[kind].track2(&format!("{EXPIRY}201{discretionary}")))),
        }
    }

    /// The cards that are refused, with their expiry and the reason.
    pub fn refused(&self) -> Vec<(&Canary, &str, &str)> {
        vec![
            (&self.expired, PAST, "expired_card"),
            (&self.misread, EXPIRY, "invalid_card"),
            (&self.declined, EXPIRY, "card_declined"),
            (&self.poor, EXPIRY, "insufficient_funds"),
            (&self.stored_then_declined, EXPIRY, "card_declined"),
        ]
    }
}

/// A new session's id.
pub fn session() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).unwrap();
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

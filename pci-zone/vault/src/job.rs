//! One sealed card: opened, read, and turned into a token, at one bench.
//!
//! Every plain text here lives in a heap buffer that is wiped on drop. What the card's sender did wrong comes out as an
//! answer; only what the HSM did wrong comes out as an [`HsmError`], so that no card can make the HSM look broken.

use pci_card::{Brand as CardBrand, Track2};
use pci_contract::{Brand, CardRef, LastFour, SealedCard, Token};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::{
    OpenError, OpenedCard, SealRefusal, VaultFault,
    handles::TokenHandle,
    hsm::{Bench, HsmError},
};

/// What a token's keyed hash is over, before the card number: no other use of the key may ever begin so.
const TOKEN_DOMAIN: &[u8] = b"larder card token v1\0";
/// What is hashed to see whether the HSM answers. It is no beginning of the above.
const PROBE: &[u8] = b"larder probe";
/// Bytes of the keyed hash a token carries.
const TOKEN_BYTES: usize = 16;

/// A card to open and whom to answer.
pub(crate) struct Job {
    pub(crate) card: SealedCard,
    pub(crate) associated_data: Vec<u8>,
    pub(crate) now_unix_s: i64,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// What the asker gets: the outcome, and the question, to be freed by him. Memory that a worker frees for another thread
/// mingles with what the HSM's library allocates there, and made its calls measurably slower.
pub(crate) struct Answer {
    pub(crate) outcome: Result<OpenedCard, OpenError>,
    _question: (SealedCard, Vec<u8>),
    others: Others,
}

/// Answers to others, which go out wherever this is dropped.
#[derive(Default)]
struct Others(Vec<Done>);

impl Drop for Others {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Done::send);
    }
}

/// A job that is done and not answered yet.
pub(crate) struct Done {
    asker: oneshot::Sender<Answer>,
    answer: Answer,
}

impl Done {
    /// Answers all of them. To wake an asker means to wake a thread of the runtime, which then takes the worker's place
    /// on the processor, answer by answer; so one gets them all, and wakes the others from within the runtime.
    pub(crate) fn send_all(mut all: Vec<Self>) {
        if let Some(mut first) = all.pop() {
            first.answer.others = Others(all);
            first.send();
        }
    }

    /// Answers. An asker who went away meanwhile needs no answer; the card is wiped with it.
    fn send(self) {
        drop(self.asker.send(self.answer));
    }
}

impl Job {
    /// Does the job and puts its answer to those that are `done`. The error is the HSM's, told to the worker; there is
    /// an answer then, too.
    pub(crate) fn run(self, bench: &Bench, done: &mut Vec<Done>) -> Result<(), HsmError> {
        if self.answer.is_closed() {
            return Ok(());
        }
        let (outcome, told) = match self.open(bench) {
            Ok(outcome) => (outcome, Ok(())),
            Err(error) => (Err(OpenError::Fault(VaultFault::Hsm)), Err(error)),
        };
        let answer = Answer { outcome, _question: (self.card, self.associated_data), others: Others::default() };
        done.push(Done { asker: self.answer, answer });
        told
    }

    fn open(&self, bench: &Bench) -> Result<Result<OpenedCard, OpenError>, HsmError> {
        let Some(sealing) = bench.handles().sealing(self.card.key()) else {
            return Ok(Err(SealRefusal::UnknownKey.into()));
        };
        let point = self.card.encapsulated_key();
        let shared = bench.agree(sealing.key, point)?;
        let opened = sealing.recipient.open(&shared, point, &self.associated_data, self.card.cipher_text());
        drop(shared);
        let Ok(text) = opened else { return Ok(Err(SealRefusal::DoesNotOpen.into())) };
        let track = match self.read(&text) {
            Ok(track) => track,
            Err(error) => return Ok(Err(OpenError::Card(error))),
        };
        drop(text);
        tokenize(bench, track)
    }

    fn read(&self, text: &[u8]) -> Result<Track2, pci_card::CardError> {
        let track = Track2::parse(text)?;
        track.expiry().check(self.now_unix_s)?;
        Ok(track)
    }
}

/// Whether the HSM still does what it is asked: the keyed hashes of a fixed text under all token keys.
pub(crate) fn probe(bench: &Bench) -> Result<(), HsmError> {
    bench.handles().tokens.iter().try_for_each(|token| bench.mac(token.key, PROBE).map(drop))
}

fn tokenize(bench: &Bench, track: Track2) -> Result<Result<OpenedCard, OpenError>, HsmError> {
    let (pan, expiry) = track.into_parts();
    let mut text = Zeroizing::new(Vec::with_capacity(TOKEN_DOMAIN.len() + pan.expose().len()));
    text.extend_from_slice(TOKEN_DOMAIN);
    text.extend_from_slice(pan.expose());
    let mut tokens = bench.handles().tokens.iter().map(|handle| token(bench, handle, &text));
    // The plan has exactly one active token key, and it comes first.
    let (active, earlier_tokens) = (tokens.next().transpose()?, tokens.collect::<Result<_, _>>()?);
    let last_four = pan.last_four();
    let last_four = std::str::from_utf8(&last_four).ok().and_then(|text| LastFour::parse(text).ok());
    let (Some(token), Some(last_four)) = (active, last_four) else {
        return Ok(Err(OpenError::Fault(VaultFault::Hsm)));
    };
    let card = CardRef { token, brand: brand(pan.brand()), last_four };
    Ok(Ok(OpenedCard { card, earlier_tokens, pan, expiry }))
}

fn token(bench: &Bench, handle: &TokenHandle, text: &[u8]) -> Result<Token, HsmError> {
    let mac = bench.mac(handle.key, text)?;
    let short: &[u8; TOKEN_BYTES] = mac.first_chunk().ok_or(HsmError::Answer("C_Sign"))?;
    Ok(Token::from_mac(handle.version, *short))
}

const fn brand(brand: CardBrand) -> Brand {
    match brand {
        CardBrand::Visa => Brand::Visa,
        CardBrand::Mastercard => Brand::Mastercard,
        CardBrand::Amex => Brand::Amex,
        CardBrand::Discover => Brand::Discover,
        CardBrand::Jcb => Brand::Jcb,
        CardBrand::Diners => Brand::Diners,
        CardBrand::Unionpay => Brand::Unionpay,
        CardBrand::Other => Brand::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three jobs that are done, each with another fault for its asker to know his answer by.
    fn three() -> (Vec<Done>, Vec<oneshot::Receiver<Answer>>) {
        let mut point = [0; 65];
        point[0] = 4;
        let done = |fault: VaultFault| {
            let card = SealedCard::parse("pci-seal-1", &point, &[0; 16]).expect("a shape");
            let (asker, asked) = oneshot::channel();
            let outcome = Err(OpenError::Fault(fault));
            (
                Done { asker, answer: Answer { outcome, _question: (card, Vec::new()), others: Others::default() } },
                asked,
            )
        };
        [VaultFault::Busy, VaultFault::Hsm, VaultFault::Late].map(done).into_iter().unzip()
    }

    fn fault(asked: &mut oneshot::Receiver<Answer>) -> Option<VaultFault> {
        match asked.try_recv().ok()?.outcome {
            Err(OpenError::Fault(fault)) => Some(fault),
            _ => None,
        }
    }

    #[test]
    fn each_asker_gets_his_own_answer_once_one_has_looked() {
        let (done, mut asked) = three();
        Done::send_all(done);
        assert_eq!(
            asked.iter_mut().rev().map(fault).collect::<Vec<_>>(),
            [Some(VaultFault::Late), Some(VaultFault::Hsm), Some(VaultFault::Busy)]
        );
    }

    #[test]
    fn who_went_away_keeps_no_answer_from_the_others() {
        for gone_before in [true, false] {
            let (done, mut asked) = three();
            let kept = asked.pop().filter(|_| !gone_before);
            Done::send_all(done);
            drop(kept);
            let heard: Vec<_> = asked.iter_mut().map(fault).collect();
            assert_eq!(heard, [Some(VaultFault::Busy), Some(VaultFault::Hsm)], "gone before: {gone_before}");
        }
    }
}

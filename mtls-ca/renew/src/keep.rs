//! Keeps one service's certificate: looks when the next is due, gets it, puts it in its place.

use std::time::Duration;

use ca_client::{Situation, Span, Web};
use ca_mtls::{EnrolmentClient, Identity};
use tokio::sync::watch;

use crate::order::{self, Certified};
use crate::responder::Board;
use crate::{Config, RenewError, Wanted, files};

/// The longest sleep: clocks are set while programs run.
const LOOK_EVERY_S: u64 = 60;
/// How often the authority is asked for its hint: at most and at least, seconds.
const HINT_S: (u64, u64) = (60, 6 * 60 * 60);

/// What it takes to keep the certificate of one service.
#[derive(Debug)]
pub struct Renewal {
    /// The settings, whole.
    pub config: Config,
    /// Which certificate.
    pub wanted: Wanted,
    /// The way to the authority.
    pub authority: Web,
    /// Whose roots that way goes by.
    pub trusts: EnrolmentClient,
    /// Where proofs are left.
    pub board: Board,
    /// Hears when somebody wants the next certificate now.
    pub asked: watch::Receiver<()>,
    /// The binary's clock, seconds since the Unix epoch.
    pub now_unix_s: fn() -> i64,
    /// Its source of random bits.
    pub chance: fn() -> u64,
}

/// Gets a certificate now and puts it in its place; its last second since the Unix epoch.
///
/// # Errors
/// [`RenewError`]; the files are as they were.
pub async fn renew(renewal: &Renewal) -> Result<i64, RenewError> {
    let Renewal { config, wanted, authority, trusts, board, .. } = renewal;
    trusts.trust(&config.roots()?);
    let Certified { chain_pem, key_pem } =
        order::certificate(authority, &config.authority_directory, wanted, board).await?;
    let identity = Identity::from_pem(chain_pem.as_bytes(), key_pem.as_bytes());
    let identity =
        identity.map_err(|why| RenewError::Fault(format!("what the authority gave is no identity: {why}")))?;
    let ours = wanted.id(&config.domain()?)?;
    if identity.id() != &ours {
        let found = identity.id();
        return Err(RenewError::Refused(format!(
            "the authority certified {found} and not {ours}: the account is another's; remove {} and bring the right key",
            wanted.account.display()
        )));
    }
    files::keep(&wanted.certificate, &wanted.key, &chain_pem, &key_pem)?;
    Ok(identity.own().not_after)
}

impl Renewal {
    /// Keeps it, for ever.
    pub async fn run(self) {
        let mut asked = self.asked.clone();
        let mut situation = Situation::with(self.life(), (self.chance)());
        let mut hint_at_s = (self.now_unix_s)();
        loop {
            let now_s = (self.now_unix_s)();
            if situation.next_s(now_s) <= now_s {
                match renew(&self).await {
                    Ok(not_after_unix_s) => {
                        tracing::info!(party = self.wanted.party, not_after_unix_s, "certificate replaced");
                        situation = Situation::with(self.life(), (self.chance)());
                    }
                    Err(why) => {
                        tracing::error!(party = self.wanted.party, %why, "no new certificate; the one before is kept");
                        situation = situation.failed_at((self.now_unix_s)());
                    }
                }
                continue;
            }
            if hint_at_s <= now_s {
                let again_s = self.hint(&mut situation).await;
                hint_at_s = now_s.saturating_add_unsigned(again_s.clamp(HINT_S.0, HINT_S.1));
                continue;
            }
            let wait_s = situation.next_s(now_s).min(hint_at_s).saturating_sub(now_s).clamp(0, i64::MAX).unsigned_abs();
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(wait_s.min(LOOK_EVERY_S))) => {}
                () = word(&mut asked) => {
                    tracing::info!(party = self.wanted.party, "the next certificate was asked for");
                    situation = situation.asked();
                }
            }
        }
    }

    /// The life of the certificate that is in its place; none when there is none that can be read.
    fn life(&self) -> Option<Span> {
        let leaf = files::leaf(&self.wanted.certificate).ok().flatten()?;
        files::life(&leaf).ok()
    }

    /// Asks for the authority's hint; in how many seconds to ask again.
    async fn hint(&self, situation: &mut Situation) -> u64 {
        let Some(leaf) = files::leaf(&self.wanted.certificate).ok().flatten() else { return HINT_S.0 };
        match order::hint(&self.authority, &self.config.authority_directory, &self.wanted, &leaf).await {
            Ok((hint, again_s)) => {
                situation.hint = Some(hint);
                again_s
            }
            Err(why) => {
                tracing::info!(party = self.wanted.party, %why, "the authority gives no hint when to renew");
                HINT_S.1 / 12
            }
        }
    }
}

/// Waits until somebody asks; for ever when nobody can any more.
async fn word(asked: &mut watch::Receiver<()>) {
    if asked.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

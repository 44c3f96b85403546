//! The trust bundle for fridges, beside their certificates: they follow it from certificate to certificate, on the listener
//! where they get them.
//!
//! The authority decides in another process. Its bundles are read again when its file of acts has changed, which is looked at
//! for every question: who holds a certificate must be given at least the bundle of the moment in which it was made.

use std::sync::{Arc, Mutex, PoisonError};

use authority::{Authority, PublishedBundle, hand_out};
use ca_http::{Request, Response};
use ca_mtls::Watched;

use crate::error::AcmeServerError;

/// The bundles as they were read last.
#[derive(Debug, Default)]
pub(crate) struct Bundles(Mutex<Option<(Watched, Arc<Vec<PublishedBundle>>)>>);

impl Bundles {
    /// Answers one question for a bundle.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        authority: &Arc<Authority>,
        request: &Request,
    ) -> Result<Response, AcmeServerError> {
        let (bundles, authority) = (Arc::clone(self), Arc::clone(authority));
        let read = tokio::task::spawn_blocking(move || bundles.read(&authority)).await;
        let read = read.map_err(|why| AcmeServerError::system("reading bundles ended", std::io::Error::other(why)))?;
        Ok(hand_out(request, &read?))
    }

    fn read(&self, authority: &Authority) -> Result<Arc<Vec<PublishedBundle>>, AcmeServerError> {
        // One reads, the others wait for him: strangers come here.
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((acts, bundles)) = seen.as_mut()
            && !acts.changed()
        {
            return Ok(Arc::clone(bundles));
        }
        *seen = None; // should reading fail, the next question reads again and is not given the old ones
        let acts = Watched::new(vec![authority.dir().join("acts.jsonl")]);
        let bundles = Arc::new(authority.bundles()?);
        *seen = Some((acts, Arc::clone(&bundles)));
        Ok(bundles)
    }
}

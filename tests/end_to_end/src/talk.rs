//! One purchase's stream: what is said and what is answered, until it ends or is cut.

use bytes::{BufMut, Bytes, BytesMut};
use fridge_agent::proto::service_message::Body;
use fridge_agent::proto::{FridgeMessage, Receipt, ServiceMessage, Unlock};
use http::Response;
use hyper::body::{Frame, Incoming};
use prost::Message;
use single_node::Fault;
use tokio::sync::mpsc;

use crate::line::{End, Frames, Line, ON_THE_WAY, Reader, bounded, framed};

/// A stream of one session.
pub struct Talk {
    frames: Option<Frames>,
    answers: Reader,
    acknowledged: u64,
}

/// The most messages that are read while something is waited for.
const MOST: usize = 10_000;

impl Line {
    /// Opens a purchase's stream.
    ///
    /// # Errors
    /// [`End`] when it is not taken.
    pub async fn purchase(&self) -> Result<Talk, End> {
        let (frames, body) = mpsc::channel(ON_THE_WAY);
        let answer = self.post("Purchase", body).await?;
        Talk::new(frames, answer)
    }
}

impl Talk {
    pub(crate) fn new(frames: Frames, answer: Response<Incoming>) -> Result<Self, End> {
        Ok(Self { frames: Some(frames), answers: Reader::new(answer)?, acknowledged: 0 })
    }

    /// Says something.
    pub async fn say(&mut self, message: &FridgeMessage) {
        self.say_bytes(&message.encode_to_vec()).await;
    }

    /// Says all of it, in order.
    pub async fn say_all<'a>(&mut self, messages: impl IntoIterator<Item = &'a FridgeMessage>) {
        for message in messages {
            self.say(message).await;
        }
    }

    /// Sends any bytes as one message.
    pub async fn say_bytes(&mut self, message: &[u8]) {
        self.say_raw(framed(message)).await;
    }

    /// Sends any bytes as they are, without gRPC's frame. A stream that has ended takes nothing more.
    pub async fn say_raw(&mut self, bytes: Bytes) {
        if let Some(frames) = &self.frames {
            let _ = bounded(frames.send(Ok(Frame::data(bytes)))).await;
        }
    }

    /// Sends a frame that promises more bytes than come.
    pub async fn say_half(&mut self, message: &FridgeMessage) {
        let whole = framed(&message.encode_to_vec());
        let mut half = BytesMut::new();
        half.put_slice(whole.get(..whole.len() / 2).unwrap_or_default());
        self.say_raw(half.freeze()).await;
    }

    /// Says that nothing more will be said, and still reads.
    pub fn finish(&mut self) {
        self.frames = None;
    }

    /// The next message, bare acknowledgements included.
    ///
    /// # Errors
    /// [`End`] when there is none.
    pub async fn next(&mut self) -> Result<ServiceMessage, End> {
        let message = ServiceMessage::decode(self.answers.next().await?).map_err(End::lost)?;
        self.acknowledged = self.acknowledged.max(message.acknowledged);
        Ok(message)
    }

    /// The next answer that says something.
    ///
    /// # Errors
    /// [`End`] when there is none.
    pub async fn answer(&mut self) -> Result<Body, End> {
        for _ in 0..MOST {
            if let Some(body) = self.next().await?.body {
                return Ok(body);
            }
        }
        Err(End::lost("acknowledgements without end"))
    }

    /// Waits until every message up to `sequence` is acknowledged, whatever is answered meanwhile.
    ///
    /// # Errors
    /// [`End`] when it never is.
    pub async fn acknowledged(&mut self, sequence: u64) -> Result<(), End> {
        for _ in 0..MOST {
            if self.acknowledged >= sequence {
                return Ok(());
            }
            self.next().await?;
        }
        Err(End::lost("answers without end"))
    }

    /// The next answer, which must be that the door unlocks.
    ///
    /// # Errors
    /// [`Fault`] with what came instead.
    pub async fn unlock(&mut self) -> Result<Unlock, Fault> {
        match self.answer().await? {
            Body::Unlock(unlock) => Ok(unlock),
            other => Err(unexpected("an Unlock", &other)),
        }
    }

    /// The next answer, which must be a refusal: its reason.
    ///
    /// # Errors
    /// [`Fault`] with what came instead.
    pub async fn refused(&mut self) -> Result<String, Fault> {
        match self.answer().await? {
            Body::Refused(refused) => Ok(refused.reason),
            other => Err(unexpected("a refusal", &other)),
        }
    }

    /// The next answer, which must be from where to send again.
    ///
    /// # Errors
    /// [`Fault`] with what came instead.
    pub async fn resend_from(&mut self) -> Result<u64, Fault> {
        match self.answer().await? {
            Body::ResendFrom(resend) => Ok(resend.sequence),
            other => Err(unexpected("a request to send again", &other)),
        }
    }

    /// The receipt, whatever comes before it.
    ///
    /// # Errors
    /// [`End`] when none comes.
    pub async fn receipt(&mut self) -> Result<Receipt, End> {
        for _ in 0..MOST {
            if let Body::Receipt(receipt) = self.answer().await? {
                return Ok(receipt);
            }
        }
        Err(End::lost("answers without end"))
    }

    /// How the stream ends, whatever is said before.
    pub async fn end(&mut self) -> End {
        for _ in 0..MOST {
            if let Err(end) = self.next().await {
                return end;
            }
        }
        End::lost("answers without end")
    }
}

fn unexpected(wanted: &str, other: &Body) -> Fault {
    Fault::new(format!("instead of {wanted} came {other:?}"))
}

//! The fridge protocol's server: each method asks for its permit, parses, hands over to `drive`, writes the answer.
//! No rule of a purchase is here.

pub mod wire;

use std::pin::Pin;
use std::sync::Arc;

use ca_mtls::Peer;
use pci_contract::EventId;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::authorize::{self, EnrollCard, Guarded, Permit, Purchase, ReportTamper, SealingKey};
use crate::clock;
use crate::drive::{Drive, DriveError};
use crate::message::{BadField, Unread};

/// What tonic-prost-build makes of `purchase.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
pub mod proto {
    tonic::include_proto!("larder.purchase.v1");
}

/// How long a fridge may keep a sealing key, in seconds.
const SEALING_KEY_MAX_AGE_S: u32 = 3_600;

/// The service of `purchase.proto`.
#[derive(Clone)]
pub struct Rpc {
    drive: Arc<Drive>,
}

impl Rpc {
    /// Serves on top of `drive`.
    #[must_use]
    pub const fn new(drive: Arc<Drive>) -> Self {
        Self { drive }
    }
}

/// The permit for method `M` of whoever sent this request.
fn permit<M: Guarded, T>(request: &Request<T>) -> Result<Permit<M>, Status> {
    let peer = request
        .extensions()
        .get::<Arc<Peer>>()
        .ok_or_else(|| Status::unauthenticated("present a client certificate"))?;
    authorize::authorize(peer, clock::now()).map_err(|denied| Status::permission_denied(denied.to_string()))
}

fn bad_field(field: BadField) -> Status {
    Status::invalid_argument(field.to_string())
}

fn drive_error(error: DriveError) -> Status {
    match error {
        DriveError::AnotherFridge => Status::permission_denied("this session belongs to another fridge"),
        DriveError::Busy => Status::resource_exhausted("too much at once; try again in a second"),
        DriveError::Denied(denied) => Status::permission_denied(denied.to_string()),
        DriveError::Fault => Status::unavailable("cannot do this now; try again with the same id"),
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<proto::ServiceMessage, Status>> + Send>>;

#[tonic::async_trait]
impl proto::purchase_session_server::PurchaseSession for Rpc {
    async fn sealing_key(
        &self,
        request: Request<proto::SealingKeyRequest>,
    ) -> Result<Response<proto::SealingKeyResponse>, Status> {
        let permit = permit::<SealingKey, _>(&request)?;
        let key = self.drive.sealing_key(&permit);
        Ok(Response::new(wire::sealing_key(&key, SEALING_KEY_MAX_AGE_S)))
    }

    type PurchaseStream = Answers;

    async fn purchase(&self, request: Request<Streaming<proto::FridgeMessage>>) -> Result<Response<Answers>, Status> {
        let permit = permit::<Purchase, _>(&request)?;
        let inbound = request.into_inner().map(|message| match message {
            Ok(message) => wire::fridge_message(message).map_err(Unread::Field),
            Err(status) => Err(wire::unread(&status)),
        });
        let answers = self.drive.purchase(permit, Box::pin(inbound)).map_err(drive_error)?;
        let answers = ReceiverStream::new(answers).map(|answer| match answer {
            Ok(message) => Ok(wire::service_message(message)),
            Err(closed) => Err(closed.into()),
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn enroll_card(
        &self,
        request: Request<proto::EnrollCardRequest>,
    ) -> Result<Response<proto::EnrollCardResponse>, Status> {
        let permit = permit::<EnrollCard, _>(&request)?;
        let asked = request.into_inner();
        let fridge = permit.fridge().map_err(|denied| Status::permission_denied(denied.to_string()))?;
        let context = wire::enrollment_context(fridge, &asked.enrollment_id).map_err(bad_field)?;
        let id_token = wire::id_token(&asked.id_token).map_err(bad_field)?;
        let card = asked.card.as_ref().and_then(wire::sealed_card);
        let answer = match self.drive.enroll(&permit, context, card, &id_token).await.map_err(drive_error)? {
            Ok(card) => proto::EnrollCardResponse {
                result: "enrolled".to_owned(),
                brand: card.brand.as_str().to_owned(),
                last_four: card.last_four.into(),
            },
            Err(reason) => proto::EnrollCardResponse { result: reason.into(), ..Default::default() },
        };
        Ok(Response::new(answer))
    }

    async fn report_tamper(
        &self,
        request: Request<proto::TamperReport>,
    ) -> Result<Response<proto::TamperAcknowledgement>, Status> {
        let permit = permit::<ReportTamper, _>(&request)?;
        let report = request.into_inner();
        let id = EventId::parse(&report.report_id)
            .map_err(|_| Status::invalid_argument("report_id: must be a hyphenated UUID"))?;
        let kind = match report.kind() {
            proto::tamper_report::Kind::MealMoved => pci_contract::TamperKind::MealMoved,
            proto::tamper_report::Kind::DoorForced => pci_contract::TamperKind::DoorForced,
            proto::tamper_report::Kind::Unspecified => {
                return Err(Status::invalid_argument("kind: must be set"));
            }
        };
        let code =
            (!report.barcode.is_empty()).then(|| wire::scanned(&report.barcode)).transpose().map_err(bad_field)?;
        let at = pci_contract::Timestamp::from_micros(report.device_time_us);
        self.drive.report_tamper(&permit, id, kind, code, at).await.map_err(drive_error)?;
        Ok(Response::new(proto::TamperAcknowledgement {}))
    }
}

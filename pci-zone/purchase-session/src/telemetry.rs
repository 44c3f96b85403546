//! Logs and spans. Both are written from typed fields of ours: ids, tokens, words and figures. Nothing that came off
//! the wire is ever formatted into one, and no type that can hold a card number can be printed.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::otlp::OtlpClient;

/// Where a collector takes spans (OTLP over HTTP); the host is the client's matter.
const TRACES: &str = "https://collector/v1/traces";

/// Why telemetry could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("log: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The OTLP exporter cannot be made.
    #[error("the collector: {0}")]
    Otlp(String),
    /// Something else already logs in this process.
    #[error("a second logger cannot be installed: {0}")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
}

/// Flushes what is left of the spans when the process ends.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends what waits, within the exporter's own time limit.
    pub fn shut_down(self) {
        if let Some(provider) = self.provider {
            let _ = provider.shutdown();
        }
    }
}

/// Starts JSON logs on standard error at the levels of `filter`, and spans through `collector` when there is one.
///
/// # Errors
/// [`TelemetryError`] names the setting that is wrong.
pub fn start(filter: &str, collector: Option<OtlpClient>) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_new(filter)?;
    let logs = tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr).with_current_span(false);
    let provider = collector.map(provider).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("purchase-session")).with_location(false)
    });
    tracing_subscriber::registry().with(filter).with(logs).with(spans).try_init()?;
    Ok(Telemetry { provider })
}

fn provider(client: OtlpClient) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(TRACES)
        .build()
        .map_err(|error| TelemetryError::Otlp(error.to_string()))?;
    let resource = Resource::builder().with_service_name("purchase-session").build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

//! TLS, with the certificate verified unless that is switched off.

use crate::config::check::Tls;
use anyhow::{Context, Result, bail};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// What opens connections as `wanted` says.
///
/// # Errors
/// The authorities cannot be read.
pub(super) fn connector(wanted: &Tls) -> Result<TlsConnector> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let config = if wanted.verify {
        builder
            .with_root_certificates(authorities(wanted)?)
            .with_no_client_auth()
    } else {
        let anybody = Arc::new(Anybody(provider));
        builder
            .dangerous()
            .with_custom_certificate_verifier(anybody)
            .with_no_client_auth()
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn authorities(wanted: &Tls) -> Result<RootCertStore> {
    let path = &wanted.authorities;
    let at = || format!("authorities = \"{}\"", path.display());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(at)? {
        // Some in Debian's collection are no authorities by today's rules; the others count.
        let _ = store.add(certificate.with_context(at)?);
    }
    if store.is_empty() {
        bail!(
            "{}: there is no certificate in it; install ca-certificates, name another file, or set verify = false",
            at()
        );
    }
    Ok(store)
}

/// Opens TLS on a connection to a server at `address`.
pub(super) async fn open(
    connector: &TlsConnector,
    stream: TcpStream,
    wanted: &Tls,
    address: IpAddr,
) -> Result<TlsStream<TcpStream>, String> {
    let name = match &wanted.name {
        Some(name) => {
            ServerName::try_from(name.clone()).map_err(|_| format!("`{name}` is no host's name"))?
        }
        None => ServerName::from(address),
    };
    connector
        .connect(name, stream)
        .await
        .map_err(|error| format!("TLS: {error}"))
}

/// Takes every certificate; that its owner holds the key is seen to all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

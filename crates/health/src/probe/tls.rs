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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    /// Certificates made for this test alone, by an authority that nobody else knows.
    const CERTIFICATE: &[u8] = include_bytes!("tls/server.pem");
    const KEY: &[u8] = include_bytes!("tls/server.key");

    fn wanted(name: Option<&str>) -> Tls {
        Tls {
            name: name.map(str::to_owned),
            verify: true,
            authorities: PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("src/probe/tls/authority.pem"),
        }
    }

    /// What comes of TLS as `wanted`, and the name that the server was asked for.
    async fn opened(wanted: &Tls) -> (Result<(), String>, Option<String>) {
        let provider = Arc::new(ring::default_provider());
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("they fit");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let accepted = TlsAcceptor::from(Arc::new(config))
                .accept(stream)
                .await
                .ok()?;
            accepted.get_ref().1.server_name().map(str::to_owned)
        });
        let connector = connector(wanted).expect("authorities");
        let stream = TcpStream::connect(at).await.expect("it listens");
        let result = open(&connector, stream, wanted, at.ip()).await.map(drop);
        (result, server.await.expect("it ends"))
    }

    #[tokio::test]
    async fn certificates_are_verified_unless_that_is_switched_off() {
        let (result, name) = opened(&wanted(Some("www.example.org"))).await;
        assert_eq!((result, name.as_deref()), (Ok(()), Some("www.example.org")));
        let (result, name) = opened(&wanted(None)).await;
        assert_eq!(
            (result, name),
            (Ok(()), None),
            "an address has no server name"
        );
        let (result, _) = opened(&wanted(Some("other.example.org"))).await;
        assert!(result.expect_err("another name").contains("TLS"));
        let of_debian = Tls {
            authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
            ..wanted(Some("www.example.org"))
        };
        if of_debian.authorities.exists() {
            let (result, _) = opened(&of_debian).await;
            assert!(result.expect_err("nobody's authority").contains("TLS"));
        }
        let anybody = Tls {
            verify: false,
            ..wanted(Some("other.example.org"))
        };
        assert_eq!(opened(&anybody).await.0, Ok(()));
    }

    #[test]
    fn authorities_that_are_none_are_named() {
        for path in ["/nowhere.pem", "/etc/hostname"] {
            let wanted = Tls {
                authorities: path.into(),
                ..wanted(None)
            };
            let why = format!("{:#}", connector(&wanted).err().expect(path));
            assert!(why.contains(path), "{why}");
        }
    }
}

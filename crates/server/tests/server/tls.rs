//! HTTPS, with both versions of HTTP offered.

use crate::started::{Started, settings, tiny};
use grice_server::TlsFiles;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

#[test]
fn a_certificate_and_its_key_make_https() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.tls = Some(files);
    let server = Started::early(settings);
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (offered, chosen) in [(&b"http/1.1"[..], &b"http/1.1"[..]), (b"h2", b"h2")] {
        config.alpn_protocols = vec![offered.to_vec()];
        let connector = TlsConnector::from(Arc::new(config.clone()));
        runtime.block_on(async {
            let stream = TcpStream::connect(server.address).await.unwrap();
            let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(chosen));
            if chosen == b"http/1.1" {
                let request = b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
                stream.write_all(request).await.unwrap();
                let mut answer = String::new();
                // rustls minds that the server closes the socket right after its close_notify; the text counts.
                _ = stream.read_to_string(&mut answer).await;
                assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("{\"live\":true}"), "{answer}");
            }
        });
    }
}

#[test]
fn files_that_are_none_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.tls = Some(files);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(grice_server::Server::start(settings)).err().unwrap().to_string();
    assert!(error.contains("cert.pem"), "{error}");
}

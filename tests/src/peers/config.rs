//! The configuration of each tunnel: mutual TLS 1.3 to the server, whose name is checked, and nothing tuned.

use std::path::Path;

use super::Peer;

pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";
pub(super) const COMBINED: &str = "combined.pem";
pub(super) const ROOTS: &str = "ca.crt";

/// Where Debian's packages put the module that nginx itself does not have.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// The text that the program reads. Each stays in the foreground as one process, so that its costs are those of one id
/// and it ends when that is killed.
pub(super) fn render(peer: Peer, directory: &Path, port: u16, upstream: u16) -> String {
    match peer {
        Peer::Stunnel => stunnel(port, upstream),
        Peer::Haproxy => haproxy(port, upstream),
        Peer::Nginx => nginx(directory, port, upstream),
    }
}

fn stunnel(port: u16, upstream: u16) -> String {
    format!(
        "foreground = yes\n\
         pid =\n\
         debug = err\n\
         [nats]\n\
         client = yes\n\
         accept = 127.0.0.1:{port}\n\
         connect = 127.0.0.1:{upstream}\n\
         cert = {CERTIFICATE}\n\
         key = {KEY}\n\
         CAfile = {ROOTS}\n\
         verifyChain = yes\n\
         checkHost = localhost\n\
         sslVersion = TLSv1.3\n"
    )
}

fn haproxy(port: u16, upstream: u16) -> String {
    format!(
        "defaults\n\
         \x20 mode tcp\n\
         \x20 timeout connect 5s\n\
         \x20 timeout client 1h\n\
         \x20 timeout server 1h\n\
         frontend clients\n\
         \x20 bind 127.0.0.1:{port}\n\
         \x20 default_backend nats\n\
         backend nats\n\
         \x20 server nats 127.0.0.1:{upstream} ssl crt {COMBINED} ca-file {ROOTS} verify required \
         verifyhost localhost sni str(localhost) ssl-min-ver TLSv1.3\n"
    )
}

fn nginx(directory: &Path, port: u16, upstream: u16) -> String {
    let module = if Path::new(STREAM_MODULE).is_file() {
        format!("load_module {STREAM_MODULE};\n")
    } else {
        String::new()
    };
    let path = |name: &str| directory.join(name).display().to_string();
    format!(
        "{module}daemon off;\n\
         master_process off;\n\
         pid {pid};\n\
         error_log stderr;\n\
         events {{}}\n\
         stream {{\n\
         \x20 server {{\n\
         \x20   listen 127.0.0.1:{port};\n\
         \x20   proxy_pass 127.0.0.1:{upstream};\n\
         \x20   proxy_timeout 1h;\n\
         \x20   proxy_ssl on;\n\
         \x20   proxy_ssl_protocols TLSv1.3;\n\
         \x20   proxy_ssl_certificate {certificate};\n\
         \x20   proxy_ssl_certificate_key {key};\n\
         \x20   proxy_ssl_trusted_certificate {roots};\n\
         \x20   proxy_ssl_verify on;\n\
         \x20   proxy_ssl_name localhost;\n\
         \x20   proxy_ssl_server_name on;\n\
         \x20 }}\n\
         }}\n",
        pid = path("nginx.pid"),
        certificate = path(CERTIFICATE),
        key = path(KEY),
        roots = path(ROOTS),
    )
}

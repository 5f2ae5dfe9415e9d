//! `grice serve` as a separate process.

use super::http;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Killed when it goes out of scope.
pub(crate) struct Process(pub(crate) Child);

pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// On a free port, ready to answer.
    pub(crate) fn start(more: &[&str]) -> Server {
        Server::start_at(free_address(), more)
    }

    pub(crate) fn start_at(address: SocketAddr, more: &[&str]) -> Server {
        let mut command = grice();
        command.args(["serve", "--listen", &address.to_string(), "--threads", "1"]).args(more);
        let process =
            Process(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let server = Server { process, address };
        wait("the server to be ready", || server.is_ready());
        server
    }

    pub(crate) fn is_ready(&self) -> bool {
        http::get(self.address, "/v2/health/ready").is_ok_and(|answer| answer.status == 200)
    }
}

impl Process {
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait("a process to end", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Politely first: NGINX ends its workers only then. It may have ended already, and nothing here may panic.
        let until = Instant::now() + Duration::from_secs(5);
        if matches!(self.0.try_wait(), Ok(None)) {
            _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        }
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// The binary, without variables from the environment of the tests.
pub(crate) fn grice() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grice"));
    let settings =
        std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("GRICE_"));
    settings.for_each(|name| _ = command.env_remove(name));
    command
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// One minute, because a busy machine may be slow.
pub(crate) fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "gave up waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

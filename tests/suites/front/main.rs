//! CIM's embedded NATS server behind the flags, configuration keys and signals of nats-server, so that foreign test suites run against
//! it unchanged (tests/suites/README.md). Messages on LOG, EVENT, CONFIG and TEST count as stored at once. For tests: not in the image.
//!
//! SIGTERM and SIGINT end it, SIGHUP reads the configuration again (clients stay when users and the number of connections alone differ), SIGUSR2 is lame duck mode.
#![allow(missing_docs)]

mod console;
mod flags;
mod https;
mod lame_duck;
mod pages;
mod server;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cim::nats::config::{Authorization, Files, Listen, ServerConfig, Tls, User};
use cim::nats::info::VERSION;
use cim::threads::spawn::{NOTICES, Notice, spawn};
use crossbeam_channel::{RecvTimeoutError, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

use flags::{Flags, Wanted};
use lame_duck::LameDuck;
use server::Server;

fn main() -> ExitCode {
    let flags = match flags::parse(std::env::args().skip(1)) {
        Ok(Wanted::Start(flags)) => *flags,
        Ok(Wanted::Version) => {
            println!("nats-server: v{VERSION}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("nats-server: {problem}");
            return ExitCode::FAILURE;
        }
    };
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nats-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    console::start(flags.log.as_deref())?;
    let config = read(flags)?;
    let (notices_in, notices) = bounded(NOTICES);
    let mut signals =
        signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?;
    let to = notices_in.clone();
    spawn("signals", &notices_in, move || {
        for signal in signals.forever() {
            let _ = to.send(Notice::Signal(signal));
        }
    })?;
    let mut server = Server::listen(config)?;
    server.start(&notices_in)?;
    if let Some(address) = server.monitor_address() {
        log::info!("Starting http monitor on {address}");
    }
    log::info!("Listening for client connections on {}", server.address());
    log::info!("Server is ready");
    let mut lame_duck: Option<LameDuck> = None;
    loop {
        let notice = match &lame_duck {
            Some(mode) => match notices.recv_deadline(mode.next()) {
                Err(RecvTimeoutError::Timeout) => None,
                notice => Some(notice?),
            },
            None => Some(notices.recv()?),
        };
        let Some(notice) = notice else {
            server.send_away(1);
            if lame_duck.as_mut().is_some_and(LameDuck::go_on) {
                continue;
            }
            break;
        };
        match notice {
            Notice::Signal(SIGUSR2) if lame_duck.is_none() => {
                log::info!("Entering lame duck mode, stop accepting new clients");
                lame_duck = Some(server.begin_lame_duck());
            }
            // There is no going back.
            Notice::Signal(SIGUSR2) => {}
            Notice::Signal(SIGHUP) if lame_duck.is_some() => {}
            Notice::Signal(SIGHUP) => match read(flags) {
                Ok(config) => {
                    server.reload(config, &notices_in)?;
                    log::info!("Reloaded server configuration");
                }
                Err(error) => log::error!("Failed to reload server configuration: {error}"),
            },
            // There is no log file to open again.
            Notice::Signal(SIGUSR1) => {}
            Notice::Signal(_) => break,
            Notice::Ended(name, true) => return Err(format!("the thread {name} has died").into()),
            Notice::Ended(_, false) => {}
        }
    }
    server.stop();
    Ok(())
}

/// The file, and what the flags say over it.
fn read(flags: &Flags) -> Result<ServerConfig, Box<dyn Error>> {
    let mut config = match &flags.config {
        Some(path) => ServerConfig::read(Path::new(path), &Files)?,
        None => ServerConfig::default(),
    };
    if config.has_accounts {
        log::warn!("The users of the accounts are taken, the accounts are not kept apart");
    }
    config.host = flags.host.clone().or(config.host);
    config.port = flags.port.or(config.port);
    config.server_name = flags.server_name.clone().or(config.server_name);
    config.client_advertise = flags.client_advertise.clone().or(config.client_advertise);
    if let Some(port) = flags.http_port {
        let host = config.http.and_then(|http| http.host);
        config.http = Some(Listen { host, port });
    }
    if let Some(name) = &flags.user {
        config.authorization = Authorization {
            users: vec![User {
                name: name.clone(),
                password: flags.password.clone().unwrap_or_default(),
                ..User::default()
            }],
            timeout: config.authorization.timeout,
            ..Authorization::default()
        };
    }
    if let Some(token) = &flags.token {
        config.authorization.users.clear();
        config.authorization.token = Some(token.clone());
    }
    if flags.tls || flags.tls_verify {
        let file = |file: &Option<String>| file.as_ref().map(PathBuf::from);
        let (Some(cert_file), Some(key_file)) = (file(&flags.tls_cert), file(&flags.tls_key))
        else {
            return Err("TLS needs --tlscert and --tlskey".into());
        };
        config.tls = Some(Tls {
            cert_file,
            key_file,
            ca_file: file(&flags.tls_ca),
            verify: flags.tls_verify,
            ..Tls::default()
        });
    }
    Ok(config)
}

//! A sample application beside CIM. It does what every application with CIM does:
//!
//! 1. listens on `APP_PORT` for what CIM asks of it (configuration, shutdown), and says "up" by registering over HTTP;
//! 2. publishes its log lines on the NATS subject `LOG`, and its events on `EVENT`;
//! 3. takes its first configuration (Day-1), and each change of it (`updateConfig`), and answers on `CONFIG` how that went;
//! 4. hears of other functions' events on `EVENT-NOTIFICATION`;
//! 5. ends when CIM asks it to, and says so with an event.

// The synchronous client keeps the sample short; its authors go on with `async-nats`, which has the same methods.
#![allow(deprecated)]

use std::error::Error;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tiny_http::{Method, Request, Response, Server};

mod wire;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const CONTAINER: &str = "sample-rust";
const CONTAINER_ID: &str = "0123456789ab";

fn main() -> Result<()> {
    let nats = nats::connect(env("CIM_NATS_URL", "nats://127.0.0.1:4222"))?;
    let notified = nats.subscribe("EVENT-NOTIFICATION")?;
    let (asked, asks) = channel();
    let server = Server::http(format!("127.0.0.1:{}", env("APP_PORT", "9999")))?;
    thread::spawn(move || server.incoming_requests().for_each(|r| take(r, &asked)));

    let url = env("CIM_HTTP_URL", "http://127.0.0.1:6060") + "/api/v1/_operations/xgvela/register";
    let body = json!({"container_name": CONTAINER, "container_id": CONTAINER_ID}).to_string();
    let answer = ureq::post(url).send(body)?;
    println!("registered: {}", answer.status());

    let mut app = App {
        nats,
        config: json!({"greeting": "hello"}),
    };
    app.log("up")?;
    // Asks for the first configuration.
    app.raise("NotConfigured", "container", CONTAINER)?;
    for count in 1_u64.. {
        app.log(&format!("{} number {count}", app.greeting()))?;
        for message in notified.try_iter() {
            let text = String::from_utf8_lossy(&message.data);
            app.log(&format!("notified: {text}"))?;
        }
        match asks.recv_timeout(Duration::from_secs(1)) {
            Ok(Ask::LoadConfig(documents)) => app.load_config(&documents)?,
            Ok(Ask::UpdateConfig(change)) => app.update_config(&change)?,
            Ok(Ask::ShutDown) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    app.log("shutting down")?;
    app.raise("ShutdownSuccess", "container", CONTAINER)?;
    println!("ended");
    Ok(())
}

/// What CIM asks for.
enum Ask {
    LoadConfig(Value),
    UpdateConfig(Value),
    ShutDown,
}

/// The answer says that it is accepted; how it went follows on `CONFIG` or `EVENT`.
fn take(mut request: Request, asked: &Sender<Ask>) {
    let body = serde_json::from_reader(request.as_reader()).unwrap_or_default();
    let ask = match (request.method(), request.url()) {
        (Method::Post, "/updateConfig") => Some(Ask::UpdateConfig(body)),
        (Method::Post, "/api/v1/_operations/loadConfig") => Some(Ask::LoadConfig(body)),
        (Method::Post, "/api/v1/_operations/shutdown") => Some(Ask::ShutDown),
        _ => None,
    };
    let status = if ask.is_some() { 200 } else { 404 };
    // CIM tries again where it may.
    let _ = request.respond(Response::empty(status));
    if let Some(ask) = ask {
        let _ = asked.send(ask);
    }
}

struct App {
    nats: nats::Connection,
    config: Value,
}

impl App {
    fn greeting(&self) -> String {
        self.config["greeting"].as_str().unwrap_or_default().into()
    }

    /// A line is bytes, and need not be UTF-8.
    fn log(&self, line: &str) -> Result<()> {
        let message = wire::log_message(CONTAINER, CONTAINER_ID, line.as_bytes());
        Ok(self.nats.publish("LOG", message)?)
    }

    /// The event is stored when this returns: from here on CIM sees to it.
    fn raise(&self, name: &str, key: &str, value: &str) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let event = wire::event(name, CONTAINER_ID, now.as_millis() as i64, key, value);
        self.nats.publish("EVENT", event)?;
        Ok(self.nats.flush()?)
    }

    /// The first configuration: a JSON document, as text, for each data key.
    fn load_config(&mut self, documents: &Value) -> Result<()> {
        let text = documents["sample.json"].as_str().unwrap_or_default();
        self.config = serde_json::from_str(text)?;
        self.log(&format!("configured: {}", self.config))?;
        self.raise("Configured", "greeting", &self.greeting())
    }

    /// A change set has one outcome: success, failure, or unused when it means nothing to this application.
    fn update_config(&mut self, change: &Value) -> Result<()> {
        let (status, remarks) = if change["data-key"] != "sample.json" {
            ("unused", format!("no {} here", change["data-key"]))
        } else {
            match patched(&self.config, &change["config-patch"]) {
                Ok(config) => {
                    self.config = config;
                    ("success", String::new())
                }
                Err(error) => ("failure", error.to_string()),
            }
        };
        let revision = &change["revision"];
        self.log(&format!(
            "change set {revision}: {status}, the configuration is {}",
            self.config
        ))?;
        let answer = json!({
            "change-set-key": change["change-set-key"], "revision": revision, "status": status, "remarks": remarks,
        });
        self.nats.publish("CONFIG", answer.to_string())?;
        self.raise("ConfigChanged", "status", status)
    }
}

fn patched(config: &Value, patch: &Value) -> Result<Value> {
    let patch: json_patch::Patch = serde_json::from_str(patch.as_str().unwrap_or_default())?;
    let mut config = config.clone();
    json_patch::patch(&mut config, &patch)?;
    Ok(config)
}

fn env(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

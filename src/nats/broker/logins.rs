//! Who a client is: CONNECT, its certificate, and credentials that take their time to look at.

use super::{Broker, ClientId};
use crate::nats::CloseReason;
use crate::nats::auth::{Check, Verdict};
use crate::nats::info::Connect;
use crate::nats::tls::CertificateNames;

impl Broker {
    /// The client has shown a certificate, before anything else.
    pub fn set_certificate(&mut self, id: ClientId, names: CertificateNames) {
        if let Some(client) = self.clients.get_mut(id) {
            client.certificate = Some(names);
        }
    }

    pub(super) fn connect(&mut self, id: ClientId, json: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Ok(mut connect) = Connect::read(json, &client.connect) else {
            return self.close(id, CloseReason::ProtocolViolation);
        };
        if let Some(certificate) = &client.certificate
            && self.auth.is_required()
        {
            // The certificate says who it is, whatever CONNECT says; a password of that user must be right all the same.
            let Some(user) = self.auth.user_of(certificate) else {
                return self.close(id, CloseReason::AuthenticationFailure);
            };
            connect.user = Some(user.to_owned());
        }
        let verdict =
            if client.authorised && !self.auth.is_asked_again(&connect, client.user.as_deref()) {
                // Who is in stays in; what it has shown is not kept for another look.
                Verdict::Allowed(client.permissions.clone())
            } else {
                if client.authorised && connect.user.is_none() {
                    connect.user.clone_from(&client.user);
                }
                client.user = self.auth.name(&connect);
                let nonce = client.nonce.as_deref().unwrap_or_default();
                self.auth.look(&connect, nonce)
            };
        // Credentials have served their purpose; the rest is kept.
        client.connect = Connect {
            user: None,
            pass: None,
            nkey: None,
            sig: None,
            auth_token: None,
            // Who was told that there are none does not get any.
            headers: connect.headers && self.info.headers,
            ..connect
        };
        match verdict {
            Verdict::Check(check) => {
                client.checking = true;
                let number = client.number;
                self.checks.push_back((id, number, check));
            }
            verdict => self.log_in(id, verdict),
        }
    }

    fn log_in(&mut self, id: ClientId, verdict: Verdict) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.checking = false;
        client.authorised = false;
        let Verdict::Allowed(permissions) = verdict else {
            return self.close(id, CloseReason::AuthenticationFailure);
        };
        client.authorised = true;
        client.connected.get_or_insert(self.now);
        client.permissions = permissions;
        let connect = &client.connect;
        if connect.names_account || connect.new_account {
            self.close(id, CloseReason::AuthenticationFailure);
        } else if !(0..=1).contains(&connect.protocol) {
            self.close(id, CloseReason::BadClientProtocolVersion);
        } else if connect.no_responders && !connect.headers {
            self.close(id, CloseReason::NoRespondersRequiresHeaders);
        } else {
            self.ok_if_verbose(id);
        }
    }

    /// A client that begins without CONNECT is in all the same, where there is a user of those who show nothing. False: it is not.
    pub fn admit(&mut self, id: ClientId) -> bool {
        match (self.clients.get_mut(id), self.auth.no_auth_user()) {
            (Some(client), Some(user)) if client.certificate.is_none() => {
                client.user = Some(user.name.clone());
                client.permissions = user.permissions.clone();
                client.authorised = true;
                true
            }
            _ => false,
        }
    }

    /// The next credentials that take their time: for [`Check::run`], elsewhere.
    pub fn next_check(&mut self) -> Option<(ClientId, u64, Check)> {
        self.checks.pop_front()
    }

    /// What came out of it. False when the client is not there any more.
    pub fn checked(&mut self, id: ClientId, number: u64, verdict: Verdict) -> bool {
        let client = self.clients.get(id);
        let is_here = client.is_some_and(|client| client.number == number && client.checking);
        if is_here {
            self.log_in(id, verdict);
        }
        is_here
    }
}

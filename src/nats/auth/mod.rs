//! Who may connect, and what they may do. By default everybody on loopback, and everything (CONTRACT section 2).

mod nkey;
mod password;
mod permissions;

use std::sync::Arc;

use super::info::Connect;
use super::tls::CertificateNames;
use crate::secret::Secret;
pub use nkey::new_nonce;
pub use password::Password;
pub use permissions::{Permissions, Responses, Rules};

/// What a client must show in CONNECT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    #[default]
    Open,
    /// This.
    Required(Arc<Authorization>),
}

/// nats-server's `authorization` block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorization {
    /// Users, each name once.
    pub users: Vec<User>,
    /// A token, for whoever gives no user.
    pub token: Option<Password>,
    /// The one of the users that a client is who shows nothing.
    pub no_auth_user: Option<String>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name; its public key when that is its credential.
    pub name: String,
    /// What it must show.
    pub credential: Credential,
    /// What it may do; `None`: everything.
    pub permissions: Option<Arc<Permissions>>,
}

/// What a user must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Its password.
    Password(Password),
    /// Its signature of the nonce in INFO: the user's name is the public key (nats-server: `nkey`).
    Key,
}

/// What the look at a CONNECT says.
#[derive(Debug)]
pub enum Verdict {
    /// The client is in.
    Allowed(Option<Arc<Permissions>>),
    /// It is not.
    Denied,
    /// A hash has to be computed, which takes its time.
    Check(Check),
}

/// A password that is still to be compared with its hash.
#[derive(Debug)]
pub struct Check {
    expected: Password,
    given: Secret,
    permissions: Option<Arc<Permissions>>,
}

impl Check {
    /// Does it: tens of milliseconds, or what the hash's cost says.
    pub fn run(self) -> Verdict {
        if self.expected.is(&self.given) {
            Verdict::Allowed(self.permissions)
        } else {
            Verdict::Denied
        }
    }
}

impl Auth {
    /// One user with its password.
    pub fn user(name: String, password: Secret) -> Self {
        Self::Required(Arc::new(Authorization {
            users: vec![User {
                name,
                credential: Credential::Password(Password::new(password)),
                permissions: None,
            }],
            ..Authorization::default()
        }))
    }

    /// A token.
    pub fn token(token: Secret) -> Self {
        Self::Required(Arc::new(Authorization {
            token: Some(Password::new(token)),
            ..Authorization::default()
        }))
    }

    /// Whether a client must be somebody: by what CONNECT carries, or as the [user](Self::no_auth_user) of those who show nothing.
    pub fn is_required(&self) -> bool {
        !matches!(self, Self::Open)
    }

    /// Whether who shows nothing stays out: what INFO says with `auth_required`.
    pub fn needs_credentials(&self) -> bool {
        self.is_required() && self.no_auth_user().is_none()
    }

    /// Who a client is that shows nothing (nats-server: `no_auth_user`).
    pub fn no_auth_user(&self) -> Option<&User> {
        let Self::Required(authorization) = self else {
            return None;
        };
        let name = authorization.no_auth_user.as_ref()?;
        authorization.users.iter().find(|user| user.name == *name)
    }

    /// The same for the client of this CONNECT, if it shows nothing.
    fn no_auth_user_of(&self, connect: &Connect) -> Option<&User> {
        let shown = [
            &connect.user,
            &connect.pass,
            &connect.auth_token,
            &connect.nkey,
        ];
        let is_empty = |text: &&Option<String>| text.as_ref().is_none_or(String::is_empty);
        let user = self.no_auth_user()?;
        shown.iter().all(is_empty).then_some(user)
    }

    /// What a client may do that is in as `user` by what was asked for `before`; `None`: it would not get in now.
    pub fn keeps(&self, before: &Self, user: Option<&str>) -> Option<Option<Arc<Permissions>>> {
        let (now, before) = match (self, before) {
            (Self::Open, _) => return Some(None),
            (Self::Required(_), Self::Open) => return None,
            (Self::Required(now), Self::Required(before)) => (now, before),
        };
        let Some(name) = user else {
            return (now.token.is_some() && now.token == before.token).then_some(None);
        };
        let find = |users: &'_ [User]| users.iter().position(|user| user.name == name);
        let now = now.users.get(find(&now.users)?)?;
        let before = before.users.get(find(&before.users)?)?;
        (now.credential == before.credential).then(|| now.permissions.clone())
    }

    /// Some user shows a signature: INFO must carry a nonce.
    pub fn needs_nonce(&self) -> bool {
        let is_key = |user: &User| user.credential == Credential::Key;
        matches!(self, Self::Required(authorization) if authorization.users.iter().any(is_key))
    }

    /// Which user the holder of this certificate is, in the order in which nats-server looks for one.
    pub fn user_of(&self, certificate: &CertificateNames) -> Option<&str> {
        let Self::Required(authorization) = self else {
            return None;
        };
        let users = || authorization.users.iter().map(|user| user.name.as_str());
        let named = |name: &String| users().find(|user| user == name);
        let mut alternative = certificate.alternative.iter();
        alternative
            .find_map(named)
            .or_else(|| users().find(|user| certificate.is_subject_in_order(user)))
            .or_else(|| users().find(|user| certificate.is_subject(user)))
            .or_else(|| certificate.subject.iter().find_map(named))
    }

    /// Who a client with these credentials is, if they are right; `None` where there are no users.
    pub fn name(&self, connect: &Connect) -> Option<String> {
        if let Some(user) = self.no_auth_user_of(connect) {
            return Some(user.name.clone());
        }
        let Self::Required(authorization) = self else {
            return None;
        };
        let key = connect.nkey.as_ref().filter(|_| self.needs_nonce());
        let key = key.filter(|key| !key.is_empty());
        let name = key.or(connect.user.as_ref());
        name.filter(|_| !authorization.users.is_empty()).cloned()
    }

    /// Whether `connect` shows other credentials than those with which its client has got in, as `user` if there are users.
    pub fn is_asked_again(&self, connect: &Connect, user: Option<&str>) -> bool {
        let Self::Required(authorization) = self else {
            return false;
        };
        if authorization.users.is_empty() {
            return connect.auth_token.is_some();
        }
        let name = connect.user.as_deref();
        (self.needs_nonce() && (connect.nkey.is_some() || connect.sig.is_some()))
            || connect.pass.is_some()
            || name.is_some_and(|name| Some(name) != user)
    }

    /// Whether the credentials of `connect` are right. `nonce`: what the client was told in INFO, if anything.
    pub fn look(&self, connect: &Connect, nonce: &str) -> Verdict {
        let Self::Required(authorization) = self else {
            return Verdict::Allowed(None);
        };
        if let Some(user) = self.no_auth_user_of(connect) {
            return Verdict::Allowed(user.permissions.clone());
        }
        let secret = |text: &Option<String>| Secret::new(text.clone().unwrap_or_default());
        let key = connect.nkey.as_ref().filter(|key| !key.is_empty());
        if let Some(key) = key.filter(|_| self.needs_nonce()) {
            let mut users = authorization.users.iter();
            let user = users.find(|user| user.credential == Credential::Key && user.name == *key);
            let signature = connect.sig.as_deref().unwrap_or_default();
            return match user {
                Some(user) if nkey::is_signed(key, nonce, signature) => {
                    Verdict::Allowed(user.permissions.clone())
                }
                _ => Verdict::Denied,
            };
        }
        let (expected, given, permissions) = match &connect.user {
            Some(name) if !name.is_empty() && !authorization.users.is_empty() => {
                let mut users = authorization.users.iter();
                let Some(user) = users.find(|user| user.name == *name) else {
                    return Verdict::Denied;
                };
                let Credential::Password(password) = &user.credential else {
                    return Verdict::Denied;
                };
                (password, &connect.pass, user.permissions.clone())
            }
            _ => match &authorization.token {
                Some(token) => (token, &connect.auth_token, None),
                None => return Verdict::Denied,
            },
        };
        let check = Check {
            expected: expected.clone(),
            given: secret(given),
            permissions,
        };
        match expected {
            Password::Plain(_) => check.run(),
            Password::Bcrypt(_) => Verdict::Check(check),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(auth: &Auth, connect: &Connect) -> bool {
        let verdict = match auth.look(connect, "") {
            Verdict::Check(check) => check.run(),
            verdict => verdict,
        };
        matches!(verdict, Verdict::Allowed(_))
    }

    #[test]
    fn credentials() {
        let user = Auth::user("u".into(), Secret::new("p"));
        let hash = bcrypt::hash("p", 4).unwrap();
        let hashed = Auth::user("u".into(), Secret::new(hash.clone()));
        let token = Auth::token(Secret::new("t"));
        for (json, open, by_user, by_token) in [
            ("{}", true, false, false),
            (r#"{"user":"u","pass":"p"}"#, true, true, false),
            (r#"{"user":"u","pass":"x"}"#, true, false, false),
            (r#"{"user":"u"}"#, true, false, false),
            (r#"{"user":"x","pass":"p"}"#, true, false, false),
            (r#"{"user":"","pass":"p"}"#, true, false, false),
            (r#"{"auth_token":"t"}"#, true, false, true),
            (r#"{"auth_token":""}"#, true, false, false),
        ] {
            let connect = Connect::read(json.as_bytes(), &Connect::default()).unwrap();
            let all = [&Auth::Open, &user, &hashed, &token].map(|auth| outcome(auth, &connect));
            assert_eq!(all, [open, by_user, by_user, by_token], "{json}");
        }
        let hash_itself = serde_json::json!({"user": "u", "pass": hash});
        let hash_itself = hash_itself.to_string();
        let connect = Connect::read(hash_itself.as_bytes(), &Connect::default()).unwrap();
        assert!(!outcome(&hashed, &connect), "a hash is no password");
    }

    #[test]
    fn who_may_stay_when_other_users_are_in_force() {
        let user = |name: &str, password: &str| User {
            name: name.into(),
            credential: Credential::Password(Password::new(Secret::new(password))),
            permissions: None,
        };
        let users = |users: Vec<User>, token: Option<&str>| {
            Auth::Required(Arc::new(Authorization {
                users,
                token: token.map(|token| Password::new(Secret::new(token))),
                no_auth_user: None,
            }))
        };
        let before = users(vec![user("a", "1"), user("b", "2")], Some("t"));
        let limited = User {
            permissions: Some(Arc::default()),
            ..user("a", "1")
        };
        let now = users(vec![limited, user("b", "3"), user("c", "4")], Some("t"));
        assert!(matches!(now.keeps(&before, Some("a")), Some(Some(_))));
        for gone in ["b", "c", "d"] {
            assert!(now.keeps(&before, Some(gone)).is_none(), "{gone}");
        }
        assert!(now.keeps(&before, None).is_some());
        assert!(users(Vec::new(), Some("x")).keeps(&before, None).is_none());
        assert!(users(Vec::new(), None).keeps(&before, None).is_none());
        assert!(now.keeps(&Auth::Open, None).is_none());
        assert!(Auth::Open.keeps(&before, Some("b")).is_some());
    }

    #[test]
    fn certificates_name_their_user_in_nats_servers_order() {
        let certificate = |alternative: &[&str], subject: &str| {
            let mut parameters = rcgen::CertificateParams::new(
                alternative
                    .iter()
                    .map(|&name| name.into())
                    .collect::<Vec<_>>(),
            )
            .unwrap();
            parameters
                .distinguished_name
                .push(rcgen::DnType::CommonName, subject);
            let key = rcgen::KeyPair::generate().unwrap();
            CertificateNames::read(parameters.self_signed(&key).unwrap().der())
        };
        let auth = |names: &[&str]| {
            let user = |name: &&str| User {
                name: (*name).into(),
                credential: Credential::Password(Password::new(Secret::default())),
                permissions: None,
            };
            Auth::Required(Arc::new(Authorization {
                users: names.iter().map(user).collect(),
                ..Authorization::default()
            }))
        };
        let certificate = certificate(&["b.org", "a.org"], "n");
        for (users, expected) in [
            (&["x", "CN=n", "a.org", "b.org"][..], Some("b.org")),
            (&["x", "CN=n", "a.org"], Some("a.org")),
            (&["x", "CN=n"], Some("CN=n")),
            (&["x", "n"], None),
            (&[], None),
        ] {
            assert_eq!(auth(users).user_of(&certificate), expected, "{users:?}");
        }
        assert_eq!(Auth::Open.user_of(&certificate), None);
    }

    #[test]
    fn a_user_has_its_permissions_and_hashes_are_left_to_others() {
        let permissions = Arc::new(Permissions::default());
        let user = |name: &str, password: &str| User {
            name: name.into(),
            credential: Credential::Password(Password::new(Secret::new(password))),
            permissions: Some(Arc::clone(&permissions)),
        };
        let hash = bcrypt::hash("p", 4).unwrap();
        let auth = Auth::Required(Arc::new(Authorization {
            users: vec![user("a", "p"), user("b", &hash)],
            ..Authorization::default()
        }));
        let connect = |name: &str| {
            let json = serde_json::json!({"user": name, "pass": "p"});
            Connect::read(json.to_string().as_bytes(), &Connect::default()).unwrap()
        };
        assert!(matches!(
            auth.look(&connect("a"), ""),
            Verdict::Allowed(Some(_))
        ));
        let Verdict::Check(check) = auth.look(&connect("b"), "") else {
            panic!("not put off");
        };
        assert!(!format!("{check:?}").contains("\"p\""));
        assert!(matches!(check.run(), Verdict::Allowed(Some(_))));
    }
}

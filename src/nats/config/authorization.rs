//! The block `authorization`: who may connect and what for. Names, forms and defaults are nats-server's.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::error::{ConfigError, Fault, Place};
use super::value::{Block, Kind, Value};
use super::{Sources, read};
use crate::nats::auth::{self, Auth, Credential, Password, Permissions, Responses, Rules};
use crate::nats::subject;
use crate::secret::Secret;

/// nats-server's `authorization` block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorization {
    /// Users, each name and key once; a single `user` with its `password` is one of them.
    pub users: Vec<User>,
    /// A token, for whoever gives no user.
    pub token: Option<Secret>,
    /// Time to authenticate.
    pub timeout: Option<Duration>,
    /// `no_auth_user`, beside the block: the one of the users that a client is who shows nothing.
    pub no_auth_user: Option<String>,
}

/// One user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Its name, empty with a key.
    pub name: String,
    /// Its password, plain or as bcrypt hash; empty when its certificate is enough.
    pub password: Secret,
    /// Its public key, instead of name and password.
    pub nkey: Option<String>,
    /// What it may do; `None`: everything.
    pub permissions: Option<Permissions>,
}

impl User {
    /// What no two users share: the name, or the public key.
    fn key(&self) -> &str {
        self.nkey.as_ref().unwrap_or(&self.name)
    }
}

impl Authorization {
    /// Reads a file that holds this block, perhaps `no_auth_user` beside it, and nothing else.
    ///
    /// # Errors
    /// It cannot be read, is no such block, or nobody could connect with it.
    pub fn read(path: &Path, sources: &dyn Sources) -> Result<Self, ConfigError> {
        let block = read(path, sources)?;
        let (mut found, mut no_auth_user) = (None, None);
        for (key, value) in block.entries() {
            match key.as_str() {
                "authorization" => found = Some(value),
                "no_auth_user" => no_auth_user = Some(value),
                _ => value.unknown(&key)?,
            }
        }
        let missing = || ConfigError {
            place: Place {
                file: path.to_string_lossy().into(),
                line: 1,
            },
            fault: Fault::Combination("a block authorization { … } is missing"),
        };
        let value = found.ok_or_else(missing)?;
        let mut authorization = Self::from_value(value)?;
        if let Some(value) = no_auth_user {
            authorization.set_no_auth_user(value)?;
        }
        if !authorization.is_required() {
            let fault = Fault::Combination("authorization names no user and no token");
            return Err(value.error(fault));
        }
        Ok(authorization)
    }

    /// What a server makes of it.
    pub fn auth(&self) -> Auth {
        if !self.is_required() {
            return Auth::Open;
        }
        let users = self.users.iter().map(|user| auth::User {
            name: user.key().to_owned(),
            credential: match user.nkey {
                Some(_) => Credential::Key,
                None => Credential::Password(Password::new(user.password.clone())),
            },
            permissions: user.permissions.clone().map(Arc::new),
        });
        Auth::Required(Arc::new(auth::Authorization {
            users: users.collect(),
            token: self.token.clone().map(Password::new),
            no_auth_user: self.no_auth_user.clone(),
        }))
    }

    /// The users of the block `accounts`, as if they were all of one: this server does not keep accounts apart.
    pub(super) fn add_accounts(&mut self, value: &Value) -> Result<(), ConfigError> {
        for (name, account) in value.block("accounts")?.entries() {
            for (key, value) in account.block(&name)?.entries() {
                if key != "users" {
                    return Err(value.error(Fault::Unsupported { key }));
                }
                for user in several(value)? {
                    let name = user.key();
                    if self.users.iter().any(|other| other.key() == name) {
                        let name = name.to_owned();
                        return Err(value.error(Fault::TwiceTheUser { name }));
                    }
                    self.users.push(user);
                }
            }
        }
        Ok(())
    }

    /// The user of those who show nothing: one of those that there are.
    pub(super) fn set_no_auth_user(&mut self, value: &Value) -> Result<(), ConfigError> {
        let key = "no_auth_user";
        let name = value.text(key)?;
        if !self.users.iter().any(|user| user.key() == name) {
            return Err(value.wrong(key, "one of the users"));
        }
        self.no_auth_user = Some(name.to_owned());
        Ok(())
    }

    /// Somebody is named: whoever connects must be that one.
    pub fn is_required(&self) -> bool {
        !self.users.is_empty() || self.token.is_some()
    }

    /// What the block of this value says.
    pub(super) fn from_value(value: &Value) -> Result<Self, ConfigError> {
        let block = value.block("authorization")?;
        let (mut name, mut password) = (None, None);
        let (mut users, mut default_permissions) = (None, None);
        let mut found = Self::default();
        for (key, value) in block.entries() {
            match key.as_str() {
                "user" | "username" => name = Some(value.text(&key)?),
                "pass" | "password" => password = Some(value),
                "token" => found.token = Some(Secret::new(value.text(&key)?)),
                "timeout" => found.timeout = Some(value.duration(&key)?),
                "users" => users = Some(value),
                "default_permission" | "default_permissions" | "permissions" => {
                    default_permissions = Some(permissions(&key, value)?);
                }
                "auth_callout" | "auth_hook" | "proxy_required" => {
                    return Err(value.error(Fault::Unsupported { key }));
                }
                _ => value.unknown(&key)?,
            }
        }
        // Without a user it may be there as a variable, such as PASS of nats-server's examples.
        let password = password.filter(|value| name.is_some() || !value.is_variable.get());
        let password = password.map(|value| value.text("password")).transpose()?;
        let wrong = |what| Err(value.error(Fault::Combination(what)));
        if found.token.is_some() && (name.is_some() || password.is_some()) {
            return wrong("a user with a password and a token do not go together");
        }
        if name.is_none() && password.is_some() {
            return wrong("a password is there, but no user");
        }
        match (name, users) {
            (Some(_), Some(_)) => {
                return wrong("a single user and an array of users do not go together");
            }
            (None, Some(_)) if found.token.is_some() => {
                return wrong("a token and an array of users do not go together");
            }
            (Some(name), None) => found.users.push(User {
                name: name.to_owned(),
                password: password.map(Secret::new).unwrap_or_default(),
                ..User::default()
            }),
            (None, Some(users)) => found.users = several(users)?,
            (None, None) => {}
        }
        if users.is_some() {
            for user in &mut found.users {
                if user.permissions.is_none() {
                    user.permissions.clone_from(&default_permissions);
                }
            }
        }
        Ok(found)
    }
}

fn several(value: &Value) -> Result<Vec<User>, ConfigError> {
    let mut names = BTreeSet::new();
    let mut users = Vec::new();
    for value in value.array("users")? {
        let user = user(value)?;
        let name = user.key().to_owned();
        if !names.insert(name.clone()) {
            return Err(value.error(Fault::TwiceTheUser { name }));
        }
        users.push(user);
    }
    Ok(users)
}

fn user(value: &Value) -> Result<User, ConfigError> {
    let mut user = User::default();
    for (key, value) in value.block("a user")?.entries() {
        match key.as_str() {
            "user" | "username" => value.text(&key)?.clone_into(&mut user.name),
            "pass" | "password" => user.password = Secret::new(value.text(&key)?),
            "nkey" => user.nkey = Some(nkey(&key, value)?),
            "permission" | "permissions" | "authorization" => {
                user.permissions = Some(permissions(&key, value)?);
            }
            "allowed_connection_types"
            | "connection_types"
            | "clients"
            | "proxy_required"
            | "account" => return Err(value.error(Fault::Unsupported { key })),
            _ => value.unknown(&key)?,
        }
    }
    let is_named = !user.name.is_empty();
    match user.nkey {
        None if !is_named => Err(value.error(Fault::Combination("a user needs a name"))),
        Some(_) if is_named || user.password != Secret::default() => Err(value.error(
            Fault::Combination("a user with an nkey has neither name nor password"),
        )),
        _ => Ok(user),
    }
}

/// The public key of a user, as far as its form tells: `U` and 55 more characters of base32.
fn nkey(key: &str, value: &Value) -> Result<String, ConfigError> {
    let text = value.text(key)?;
    let is_base32 = |b: u8| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b);
    if text.len() == 56 && text.starts_with('U') && text.bytes().all(is_base32) {
        Ok(text.to_owned())
    } else {
        Err(value.wrong(
            key,
            "the public key of a user: U and 55 characters A-Z, 2-7",
        ))
    }
}

fn permissions(key: &str, value: &Value) -> Result<Permissions, ConfigError> {
    let mut found = Permissions::default();
    for (key, value) in value.block(key)?.entries() {
        match key.as_str() {
            "pub" | "publish" | "import" => found.publish = rules(&key, value, false)?,
            "sub" | "subscribe" | "export" => found.subscribe = rules(&key, value, true)?,
            "publish_allow_responses" | "allow_responses" => {
                found.responses = responses(&key, value)?;
            }
            _ => value.unknown(&key)?,
        }
    }
    if found.responses.is_some() {
        // Who may answer may not publish besides, unless it is said where to.
        found.publish.allow.get_or_insert_default();
    }
    Ok(found)
}

/// A block with `allow` and `deny`, or what is allowed.
fn rules(key: &str, value: &Value, queues: bool) -> Result<Rules, ConfigError> {
    let mut found = Rules::default();
    let Kind::Block(block) = &value.kind else {
        found.allow = Some(subjects(key, value, queues)?);
        return Ok(found);
    };
    for (key, value) in block.entries() {
        match key.as_str() {
            "allow" => found.allow = Some(subjects(&key, value, queues)?),
            "deny" => found.deny = subjects(&key, value, queues)?,
            _ => value.unknown(&key)?,
        }
    }
    Ok(found)
}

fn subjects(key: &str, value: &Value, queues: bool) -> Result<Vec<String>, ConfigError> {
    let is_good = |text: &str| {
        let mut words = text.split_whitespace();
        let is_subject = |word: &str| subject::is_valid(word.as_bytes());
        match (words.next(), words.next(), words.next()) {
            (Some(word), None, None) => is_subject(word) && word == text,
            (Some(word), Some(queue), None) => queues && is_subject(word) && is_subject(queue),
            _ => false,
        }
    };
    let one = |value: &Value| {
        let text = value.text(key)?;
        if is_good(text) {
            Ok(text.to_owned())
        } else if queues {
            Err(value.wrong(
                key,
                "valid subjects, each with or without a queue behind a blank",
            ))
        } else {
            Err(value.wrong(key, "valid subjects"))
        }
    };
    match &value.kind {
        Kind::Array(values) => values.iter().map(one).collect(),
        _ => Ok(vec![one(value)?]),
    }
}

fn responses(key: &str, value: &Value) -> Result<Option<Responses>, ConfigError> {
    let block: &Block = match &value.kind {
        Kind::Bool(allowed) => return Ok(allowed.then(Responses::default)),
        Kind::Block(block) => block,
        _ => return Err(value.wrong(key, "true, false or a block with max and expires")),
    };
    let mut found = Responses::default();
    for (key, value) in block.entries() {
        match key.as_str() {
            "max" | "max_msgs" | "max_messages" | "max_responses" => {
                // 0 is the default, a negative number is no limit.
                let max = value.integer(&key)?;
                if max != 0 {
                    found.max = max;
                }
            }
            "expires" | "expiration" | "ttl" => {
                // The same with a time.
                if value.text(&key)?.starts_with('-') {
                    found.expires = Duration::ZERO;
                } else {
                    let expires = value.duration(&key)?;
                    if !expires.is_zero() {
                        found.expires = expires;
                    }
                }
            }
            _ => value.unknown(&key)?,
        }
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests;

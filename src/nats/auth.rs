//! Who may connect. By default everybody on loopback (CONTRACT section 2).

use subtle::ConstantTimeEq;

use super::info::Connect;
use crate::secret::Secret;

/// What a client must show in CONNECT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    #[default]
    Open,
    /// A user and its password.
    User {
        /// User name.
        user: String,
        /// Password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
}

impl Auth {
    /// Whether CONNECT must carry credentials.
    pub fn is_required(&self) -> bool {
        !matches!(self, Self::Open)
    }

    /// Whether these credentials are right; secrets are compared in constant time.
    pub fn allows(&self, connect: &Connect) -> bool {
        let same = |expected: &str, given: &Option<String>| {
            bool::from(
                expected
                    .as_bytes()
                    .ct_eq(given.as_deref().unwrap_or_default().as_bytes()),
            )
        };
        match self {
            Self::Open => true,
            Self::User { user, password } => {
                same(user, &connect.user) & same(password.reveal(), &connect.pass)
            }
            Self::Token(token) => same(token.reveal(), &connect.auth_token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials() {
        let user = Auth::User {
            user: "u".into(),
            password: Secret::new("p"),
        };
        let token = Auth::Token(Secret::new("t"));
        for (json, open, by_user, by_token) in [
            ("{}", true, false, false),
            (r#"{"user":"u","pass":"p"}"#, true, true, false),
            (r#"{"user":"u","pass":"x"}"#, true, false, false),
            (r#"{"user":"x","pass":"p"}"#, true, false, false),
            (r#"{"auth_token":"t"}"#, true, false, true),
            (r#"{"auth_token":""}"#, true, false, false),
        ] {
            let connect: Connect = serde_json::from_str(json).unwrap();
            assert_eq!(
                (
                    Auth::Open.allows(&connect),
                    user.allows(&connect),
                    token.allows(&connect)
                ),
                (open, by_user, by_token),
                "{json}"
            );
        }
    }
}

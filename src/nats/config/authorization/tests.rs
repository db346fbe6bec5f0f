//! Blocks of users, and what is refused of them.

use std::io;

use super::*;

/// One file.
struct One(String);

impl Sources for One {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        assert_eq!(path, Path::new("users.conf"));
        Ok(self.0.clone().into_bytes())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

fn read_text(text: &str) -> Result<Authorization, ConfigError> {
    Authorization::read(Path::new("users.conf"), &One(text.to_owned()))
}

fn read_block(text: &str) -> Result<Authorization, ConfigError> {
    read_text(&format!("authorization {{\n{text}\n}}"))
}

fn allowed(subjects: &[&str]) -> Option<Vec<String>> {
    Some(subjects.iter().map(|&subject| subject.to_owned()).collect())
}

#[test]
fn one_user_or_a_token() {
    let found = read_block("user: derek\npassword: 'T0p!'\ntimeout: 0.5").unwrap();
    assert_eq!(found.timeout, Some(Duration::from_millis(500)));
    let [user] = &found.users[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (user.name.as_str(), user.password.reveal()),
        ("derek", "T0p!")
    );
    assert_eq!(user.permissions, None);
    let found = read_block("token: $2a$11$abc, timeout: \"2s\"").unwrap();
    assert_eq!(found.token.unwrap().reveal(), "$2a$11$abc");
    assert_eq!(found.timeout, Some(Duration::from_secs(2)));
}

#[test]
fn a_user_for_those_who_show_nothing_stands_beside_the_block() {
    let found =
        read_text("no_auth_user: b\nauthorization { users: [{user: a}, {user: b}] }").unwrap();
    assert_eq!(found.no_auth_user.as_deref(), Some("b"));
    assert_eq!(found.auth().no_auth_user().unwrap().name, "b");
    let error = read_text("no_auth_user: c\nauthorization { users: [{user: a}] }").unwrap_err();
    assert!(error.to_string().contains("one of the users"), "{error}");
}

#[test]
fn users_have_permissions_of_their_own_or_the_default_ones() {
    let found = read_text(
        r#"
        ADMIN = { publish = ">", subscribe = ">" }
        authorization {
          PASS: $2a$04$P/.bd.7unw9Ew7yWJqXsl
          default_permissions = {
            publish = "SANDBOX.*"
            subscribe = ["PUBLIC.>", "_INBOX.>"]
          }
          users = [
            {user: alice, password: $PASS, permissions: $ADMIN}
            {user: bob, password: bobs, permissions: {
              publish: { allow: "*.*", deny: ["SYS.*", "bar.baz"] }
              subscribe: { allow: "orders.> workers.*" }
              allow_responses: { max: 5, expires: "1m" }
            }}
            {user: carol, password: c}
            {user: dave, permissions: { allow_responses: true }}
            {nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4, permissions: {pub: a}}
          ]
        }"#,
    )
    .unwrap();
    let [alice, bob, carol, dave, key] = &found.users[..] else {
        panic!("{found:?}");
    };
    assert_eq!(alice.password.reveal(), "$2a$04$P/.bd.7unw9Ew7yWJqXsl");
    let permissions = |user: &User| user.permissions.clone().unwrap();
    assert_eq!(permissions(alice).publish.allow, allowed(&[">"]));
    let bobs = permissions(bob);
    assert_eq!(bobs.publish.allow, allowed(&["*.*"]));
    assert_eq!(bobs.publish.deny, ["SYS.*", "bar.baz"]);
    assert_eq!(bobs.subscribe.allow, allowed(&["orders.> workers.*"]));
    let expected = Responses {
        max: 5,
        expires: Duration::from_secs(60),
    };
    assert_eq!(bobs.responses, Some(expected));
    assert_eq!(permissions(carol).publish.allow, allowed(&["SANDBOX.*"]));
    assert_eq!(
        permissions(carol).subscribe.allow,
        allowed(&["PUBLIC.>", "_INBOX.>"])
    );
    assert_eq!(permissions(dave).responses, Some(Responses::default()));
    assert_eq!(permissions(dave).publish.allow, allowed(&[]));
    assert_eq!(permissions(dave).subscribe, Rules::default());
    assert_eq!(
        (key.name.as_str(), key.nkey.as_deref().map(str::len)),
        ("", Some(56))
    );
}

#[test]
fn answers_have_their_defaults() {
    for (text, expected) in [
        ("false", None),
        ("true", Some((1, 120))),
        ("{}", Some((1, 120))),
        ("{max: 0, expires: \"0s\"}", Some((1, 120))),
        ("{max: -1, expires: \"-1s\"}", Some((-1, 0))),
        ("{max_msgs: 3, ttl: 2h}", Some((3, 7200))),
    ] {
        let block = format!("users [{{user a, permissions {{allow_responses: {text}}}}}]");
        let found = read_block(&block).unwrap();
        let permissions = found.users[0].permissions.clone().unwrap();
        let expected = expected.map(|(max, seconds)| Responses {
            max,
            expires: Duration::from_secs(seconds),
        });
        assert_eq!(permissions.responses, expected, "{text}");
        assert_eq!(
            permissions.publish.allow.is_some(),
            expected.is_some(),
            "{text}"
        );
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (block, expected) in [
        ("", "names no user and no token"),
        ("users []", "names no user and no token"),
        ("timeout 1", "names no user and no token"),
        ("user a\ntoken secret", "do not go together"),
        ("password secret", "but no user"),
        ("user a\npassword secret\nusers []", "do not go together"),
        ("token secret\nusers []", "do not go together"),
        ("user: 22", "\"user\" must be a text"),
        ("user a\npassword: 123", "\"password\" must be a text"),
        ("token: x\ntimeout: soon", "\"timeout\" must be a duration"),
        ("usr a", "unknown key \"usr\""),
        ("auth_callout {}", "not supported"),
        ("users {}", "\"users\" must be an array"),
        ("users [a]", "\"a user\" must be a block"),
        ("users [{password secret}]", "a user needs a name"),
        (
            "users [{user a}, {user b}, {user a}]",
            "the user \"a\" is there twice",
        ),
        (
            "users [{user a, nkey b}]",
            "\"nkey\" must be the public key",
        ),
        (
            "users [{user a, nkey UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4}]",
            "neither name nor password",
        ),
        (
            "users [{user a, permissions {pub: \"a b\"}}]",
            "\"pub\" must be valid subjects",
        ),
        (
            "users [{user a, permissions {pub: [a.]}}]",
            "must be valid subjects",
        ),
        (
            "users [{user a, permissions {sub: \"a b c\"}}]",
            "must be valid subjects, each",
        ),
        (
            "users [{user a, permissions {sub: {alow: a}}}]",
            "unknown key \"alow\"",
        ),
        (
            "users [{user a, permissions {sub: 5}}]",
            "\"sub\" must be a text",
        ),
        (
            "users [{user a, permissions {allow_responses: 5}}]",
            "must be true, false or a block",
        ),
    ] {
        let error = read_block(block).unwrap_err().to_string();
        assert!(error.starts_with("users.conf:"), "{error}");
        assert!(error.contains(expected), "{block}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    for (text, expected) in [
        ("", "a block authorization { … } is missing"),
        ("port: 4222\nauthorization {user a}", "unknown key \"port\""),
        ("authorization: a", "\"authorization\" must be a block"),
    ] {
        let error = read_text(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

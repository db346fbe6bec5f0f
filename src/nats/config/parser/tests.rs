//! Texts and their values; what is refused, and where.

use std::collections::HashMap;
use std::io;

use proptest::prelude::*;

use super::*;

/// Files and variables of a test.
#[derive(Default)]
struct Given {
    files: HashMap<PathBuf, Vec<u8>>,
    variables: HashMap<String, String>,
}

impl Given {
    fn file(mut self, path: &str, text: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), text.into());
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    fn read(&self) -> Result<Block, ConfigError> {
        read(Path::new("dir/main.conf"), self)
    }
}

impl Sources for Given {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let bytes = self.files.get(path).cloned();
        bytes.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
}

fn main(text: &str) -> Given {
    Given::default().file("dir/main.conf", text)
}

/// A value as JSON has it.
fn json(kind: &Kind) -> serde_json::Value {
    match kind {
        Kind::Text(text) => text.as_str().into(),
        Kind::Integer(number) => (*number).into(),
        Kind::Float(number) => (*number).into(),
        Kind::Bool(value) => (*value).into(),
        Kind::Array(values) => values.iter().map(|value| json(&value.kind)).collect(),
        Kind::Block(block) => json_of(block),
    }
}

fn json_of(block: &Block) -> serde_json::Value {
    let entries = block.0.iter();
    let members = entries.map(|(key, value)| (key.clone(), json(&value.kind)));
    serde_json::Value::Object(members.collect())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let block = main(text)
        .read()
        .unwrap_or_else(|error| panic!("{text:?}: {error}"));
    let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
    assert_eq!(json_of(&block), expected, "{text:?}");
}

#[test]
fn keys_and_values_are_separated_as_one_likes() {
    for text in [
        "a = 1\nb = x",
        "a=1\nb=x",
        "a: 1\nb: x\n",
        "a 1\nb x",
        "a = 1; b = x",
        "a = 1, b = x;",
        "\"a\" : 1\r\n'b': x\r\n",
        "# c\na = 1 # c\n// c\nb x // c",
        "a\n= 1\nb\n\nx",
        "{ \"a\": 1, \"b\": \"x\" }",
        "# JSON\n{\n a:\n 1,\n b x,\n}\n",
        "a = 7\na = 1\nb = x",
    ] {
        check(text, r#"{"a": 1, "b": "x"}"#);
    }
    check("", "{}");
    check("\n# nothing", "{}");
}

#[test]
fn blocks_and_arrays_nest() {
    check(
        "a {\n b { c = 1 }\n d [1, 2\n 3\n\n 4,\n # five\n 5 // five\n]\n}\ne [ {f 1}, {f: 2} ]\ng {}\nh []",
        r#"{"a": {"b": {"c": 1}, "d": [1, 2, 3, 4, 5]}, "e": [{"f": 1}, {"f": 2}], "g": {}, "h": []}"#,
    );
    check(
        "users = [\n {user: a, password: b}\n {user: c,\n  password: d},\n]",
        r#"{"users": [{"user": "a", "password": "b"}, {"user": "c", "password": "d"}]}"#,
    );
    check("a { b:\n 1 }", r#"{"a": {"b": 1}}"#);
}

#[test]
fn texts_have_quotes_or_none() {
    for (text, expected) in [
        (r"plain", "plain"),
        (r"nats://u:p@host:4222/x#y", "nats://u:p@host:4222/x#y"),
        (r#""a, b; c] d} # e // f""#, "a, b; c] d} # e // f"),
        (r#""\t\n\r\"\\\x41""#, "\t\n\r\"\\A"),
        (r#"a\x20b"#, "a b"),
        (r#"\x74rue"#, "true"),
        (r"'no \escape'", r"no \escape"),
        (r"'22'", "22"),
        (r#""""#, ""),
        ("'two\nlines'", "two\nlines"),
        ("(\n a = 1\n)\n", "\n a = 1\n"),
        ("(\n)", "\n"),
        (r"_INBOX.>", "_INBOX.>"),
        (r"127.0.0.1:4222", "127.0.0.1:4222"),
        (r"-x", "-x"),
        (r"3xyz", "3xyz"),
        (r"3Gyz", "3Gyz"),
        (r"8kbb", "8kbb"),
        (r"1e5", "1e5"),
        (r"1.", "1."),
        (r"30s", "30s"),
        (r"1.5s", "1.5s"),
        (r"2016-05-04T18:53:41Z", "2016-05-04T18:53:41Z"),
        (
            r"$2a$04$P/.bd.7unw9Ew7yWJqXsl",
            "$2a$04$P/.bd.7unw9Ew7yWJqXsl",
        ),
        (r"$2y$11$ooo", "$2y$11$ooo"),
        (r#""$HOME""#, "$HOME"),
        ("\"é\"", "é"),
    ] {
        let block = main(&format!("a = {text}")).read();
        let block = block.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            block.get("a").unwrap().kind,
            Kind::Text(expected.into()),
            "{text}"
        );
    }
}

#[test]
fn words_are_truth_values_and_numbers() {
    let integer = |number| Some(Kind::Integer(number));
    for (text, expected) in [
        ("true", Some(Kind::Bool(true))),
        ("YES", Some(Kind::Bool(true))),
        ("On", Some(Kind::Bool(true))),
        ("false", Some(Kind::Bool(false))),
        ("no", Some(Kind::Bool(false))),
        ("off", Some(Kind::Bool(false))),
        ("0", integer(0)),
        ("-1", integer(-1)),
        ("4222", integer(4222)),
        ("8k", integer(8000)),
        ("4kb", integer(4096)),
        ("3Ki", integer(3072)),
        ("1KiB", integer(1024)),
        ("2m", integer(2_000_000)),
        ("64MiB", integer(64 << 20)),
        ("-2G", integer(-2_000_000_000)),
        ("22gb", integer(22 << 30)),
        ("3t", integer(3_000_000_000_000)),
        ("2PB", integer(2 << 50)),
        ("1eb", integer(1 << 60)),
        ("9223372036854775807", integer(i64::MAX)),
        ("-9223372036854775808", integer(i64::MIN)),
        ("9223372036854775808", None),
        ("8eb", None),
        ("0.5", Some(Kind::Float(0.5))),
        ("-2.25", Some(Kind::Float(-2.25))),
    ] {
        let block = main(&format!("a [{text}]\nb: {text}")).read();
        let found = block.ok().map(|block| block.get("b").unwrap().kind.clone());
        assert_eq!(found, expected, "{text}");
    }
    let long = format!("a = {}.5", "9".repeat(400));
    assert!(main(&long).read().is_err(), "a number beyond all");
}

#[test]
fn variables_are_keys_above_or_of_the_environment() {
    check(
        "a = 22\nn { a = 11\n b = $a\n l [$a, {c: $a}] }\nb = $a\nblock { x = 1 }\nsame = $block",
        r#"{"a": 22, "n": {"a": 11, "b": 11, "l": [11, {"c": 11}]}, "b": 22, "block": {"x": 1}, "same": {"x": 1}}"#,
    );
    let environment = |text: &str| {
        let given = main("a = $V").variable("V", text).variable("W", "7");
        given.read().map(|block| json_of(&block)["a"].clone())
    };
    for (text, expected) in [
        ("22", "22"),
        ("xyz", "\"xyz\""),
        (" 'x y' ", "\"x y\""),
        ("[1, $W]", "[1, 7]"),
        ("$2a$04$x", "\"$2a$04$x\""),
    ] {
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        assert_eq!(environment(text).unwrap(), expected, "{text}");
    }
    for text in ["", "x y", "$V", "$a", "'", "[", "{", "\"\\q\""] {
        let error = environment(text).unwrap_err().to_string();
        assert!(error.starts_with("dir/main.conf:1: "), "{text}: {error}");
    }
    // The key that names itself is not there yet.
    assert!(main("a = $a").read().is_err());
}

#[test]
fn included_files_are_as_if_written_there() {
    let given = main("x { include sub/keys.conf\n u = [$A, $B] }\ninclude 'sub/top.conf'; t = $T")
        .file("dir/sub/keys.conf", "A = 1\ninclude more.conf")
        .file("dir/sub/more.conf", "B = 2")
        .file("dir/sub/top.conf", "T = 3");
    let expected = serde_json::json!({"x": {"A": 1, "B": 2, "u": [1, 2]}, "T": 3, "t": 3});
    assert_eq!(json_of(&given.read().unwrap()), expected);
    // Only before a blank is it a word of its own.
    check("include: 1", r#"{"include": 1}"#);

    let error = |given: Given| given.read().unwrap_err().to_string();
    let given = main("\n\ninclude sub.conf").file("dir/sub.conf", "a = 1\nb = ]");
    assert_eq!(error(given), "dir/sub.conf:2: a value is missing");
    assert!(error(main("\ninclude x")).starts_with("dir/main.conf:2: \"dir/x\" cannot be read: "));
    assert!(error(main("include main.conf")).ends_with("more than 32 levels"));
    let given = main("include a\ninclude a").file("dir/a", "include b\n".repeat(40));
    assert!(error(given.file("dir/b", "")).ends_with("more than 64 files"));
}

#[test]
fn errors_say_where_and_what_and_show_no_value() {
    for (text, expected) in [
        ("a = \n", "1: a value is missing"),
        ("a =", "1: a value is missing"),
        ("a", "1: a value is missing"),
        ("\n\na = secret more", "3: a value must end with its line"),
        ("a = 'secret", "1: the file ends within quotes"),
        ("a = \"secret", "1: the file ends within quotes"),
        ("'a", "1: the file ends within quotes"),
        ("a = \"secret\\q\"", "1: only \\xXX"),
        ("a = \"\\xZZ\"", "1: two hexadecimal digits"),
        ("a = \"\\x+1\"", "1: two hexadecimal digits"),
        ("a = \"\\xff\"", "1: the escapes of a text make no UTF-8"),
        ("a = \"\\x", "1: two hexadecimal digits"),
        ("a = sec'ret", "1: a text with quotes"),
        ("a {\n b = 1\n", "3: the file ends within a block"),
        ("a [\n1\n", "3: the file ends within an array"),
        ("a [1 2]", "1: values of an array"),
        ("a [1,,2]", "1: a value is missing"),
        ("a (\n b\n)x", "3: the file ends within ( … )"),
        ("a = 1\n}", "2: a key is missing"),
        ("= 1", "1: a key is missing"),
        ("a { ]", "1: a key is missing"),
        ("a = 1,, b = 2", "1: a key is missing"),
        ("include {}", "1: \"dir/{\" cannot be read"),
        ("include \n", "1: include needs the name"),
        ("a = $NO", "1: the variable \"NO\" is neither"),
        ("a = $", "1: the variable \"\" is neither"),
    ] {
        let error = main(text).read().unwrap_err().to_string();
        let expected = format!("dir/main.conf:{expected}");
        assert!(error.starts_with(&expected), "{text:?}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let error = Given::default().read().unwrap_err().to_string();
    assert!(error.starts_with("dir/main.conf:1: \"dir/main.conf\" cannot be read"));
    let not_utf8 = Given::default().file("dir/main.conf", b"a = \xff");
    assert!(
        not_utf8
            .read()
            .unwrap_err()
            .to_string()
            .ends_with("not UTF-8")
    );
}

#[test]
fn what_is_too_much_is_refused() {
    let nested = |levels: usize| "a [".to_owned() + &"[".repeat(levels - 1) + &"]".repeat(levels);
    assert!(main(&nested(NATS_CONFIG_DEPTH)).read().is_ok());
    assert!(main(&nested(NATS_CONFIG_DEPTH + 1)).read().is_err());
    let values = |count: usize| format!("a [{}]", "1,".repeat(count - 1));
    assert!(main(&values(NATS_CONFIG_VALUES)).read().is_ok());
    assert!(main(&values(NATS_CONFIG_VALUES + 1)).read().is_err());
    assert!(main(&"#".repeat(NATS_CONFIG_BYTES)).read().is_ok());
    assert!(main(&"#".repeat(NATS_CONFIG_BYTES + 1)).read().is_err());
    // Doubled with each line.
    let mut doubling = "a0 = [x, x]\n".to_owned();
    for n in 0..40 {
        doubling += &format!("a{} = [$a{n}, $a{n}]\n", n + 1);
    }
    let error = main(&doubling).read().unwrap_err().to_string();
    assert!(error.ends_with("more than 65536 values"), "{error}");
    let mut doubling = format!("a0 = {}\n", "x".repeat(NATS_CONFIG_BYTES / 8));
    doubling += &"b = $a0\n".repeat(10);
    let error = main(&doubling).read().unwrap_err().to_string();
    assert!(error.ends_with("more than 1048576 bytes"), "{error}");
}

/// Values, and how they can be written.
fn written() -> impl Strategy<Value = (serde_json::Value, String)> {
    let text = |text: String| {
        let quoted = text
            .chars()
            .map(|c| match c {
                '"' => "\\\"".to_owned(),
                '\\' => "\\\\".to_owned(),
                c if c.is_ascii_control() => format!("\\x{:02x}", c as u32),
                c => c.to_string(),
            })
            .collect::<String>();
        (text.into(), format!("\"{quoted}\""))
    };
    let leaf = prop_oneof![
        any::<i64>().prop_map(|n| (n.into(), n.to_string())),
        (-1000i32..1000, 0..100u32).prop_map(|(n, part)| {
            let text = format!("{n}.{part:02}");
            (text.parse::<f64>().unwrap().into(), text)
        }),
        any::<bool>().prop_map(|b| (b.into(), if b { "yes" } else { "off" }.to_owned())),
        any::<String>().prop_map(text),
        "[A-Za-z_][A-Za-z0-9_.>*@/:-]{0,12}"
            .prop_filter("a truth value", |word| {
                matches!(plain(word.clone()), Ok(Kind::Text(_)))
            })
            .prop_map(|word: String| (word.clone().into(), word)),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let separator = prop_oneof![Just(", "), Just("\n"), Just(" # c\n")];
        let arrays = (
            prop::collection::vec(inner.clone(), 0..5),
            separator.clone(),
        );
        let blocks = (
            prop::collection::btree_map("[a-z]{1,5}", inner, 0..5),
            separator,
            prop_oneof![Just(" = "), Just(": "), Just(" ")],
        );
        prop_oneof![
            arrays.prop_map(|(values, separator)| {
                let texts: Vec<_> = values.iter().map(|(_, text)| text.as_str()).collect();
                let text = format!("[{}\n]", texts.join(separator));
                (values.into_iter().map(|(value, _)| value).collect(), text)
            }),
            blocks.prop_map(|(values, separator, between)| {
                let entries = values.iter();
                let texts: Vec<_> = entries
                    .map(|(key, (_, text))| format!("{key}{between}{text}"))
                    .collect();
                let text = format!("{{{}\n}}", texts.join(separator));
                let members = values.into_iter().map(|(key, (value, _))| (key, value));
                (serde_json::Value::Object(members.collect()), text)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read((value, text) in written()) {
        let block = main(&format!("a = {text}\nb = 1")).read();
        let block = block.unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert_eq!(json_of(&block), serde_json::json!({"a": value, "b": 1}), "{}", text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Given::default().file("dir/main.conf", bytes).read();
    }

    #[test]
    fn no_text_of_its_own_characters_makes_it_panic(text in r#"([a-c0-9kmb=:;,\[\]{}()'"\\#/$. \n-]|include |true|\$a|\$E){0,60}"#) {
        let given = main(&text).variable("E", &text).file("dir/a", text.clone());
        if let Err(error) = given.read() {
            let error = error.to_string();
            prop_assert!(error.len() < 400 && !error.contains('\n'), "{}", error);
        }
    }
}
